/**
 * The control socket: what ops ask of a running door. Whoever can open the socket may do everything, so it is
 * 0600 and lies inside the container. It answers `POST /<command>` with a JSON body by 200 and JSON, or by
 * 4xx/5xx and `{"error": {"code", "message", "fix"}}`.
 */
import { mkdir, rm } from "node:fs/promises";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { connect } from "node:net";
import { dirname } from "node:path";
import { z } from "zod";
import { AccountsError } from "../accounts/errors.ts";
import type { Log } from "../accounts/log.ts";
import { type ControlError, controlError } from "./protocol.ts";

export interface Command<Input = unknown> {
	/** Checks and shapes the body; unknown keys are errors. */
	input: z.ZodType<Input>;
	run(input: Input): Promise<object>;
}

/** Keeps the type of `input` for `run`. */
export const command = <Input>(input: z.ZodType<Input>, run: (input: Input) => Promise<object>): Command =>
	({ input, run }) as Command;

export type Commands = Readonly<Record<string, Command>>;

export interface ControlServer {
	close(): Promise<void>;
}

const MOST_BYTES = 65_536;

/** Only the owner may open what is made under this mask. */
const OWNER_ONLY = 0o177;

/** @throws Error when another process already listens there. */
export async function openControlServer(
	socket: string,
	commands: Commands,
	log: Log,
): Promise<ControlServer> {
	await mkdir(dirname(socket), { recursive: true, mode: 0o700 });
	if (await answers(socket)) throw new Error(`another door already listens on ${socket}`);
	await rm(socket, { force: true });
	const server = createServer((req, res) => void handle(req, res, commands, log));
	await listen(server, socket);
	return {
		close: () =>
			new Promise((resolve) => {
				server.close(() => resolve());
				server.closeAllConnections();
			}),
	};
}

/** A socket file whose door died is left over; one that answers is in use. */
async function answers(socket: string): Promise<boolean> {
	return await new Promise((resolve) => {
		const probe = connect(socket)
			.on("connect", () => {
				probe.destroy();
				resolve(true);
			})
			.on("error", () => resolve(false));
	});
}

async function listen(server: Server, socket: string): Promise<void> {
	await new Promise<void>((resolve, reject) => {
		server.once("error", reject);
		// The file is made within this very call, so that nobody meets it with wider rights.
		const mask = process.umask(OWNER_ONLY);
		try {
			server.listen(socket, () => {
				server.off("error", reject);
				resolve();
			});
		} finally {
			process.umask(mask);
		}
	});
}

interface Outcome {
	status: number;
	body: object;
}

async function handle(
	req: IncomingMessage,
	res: ServerResponse,
	commands: Commands,
	log: Log,
): Promise<void> {
	const { status, body } = await outcome(req, commands, log);
	if (res.destroyed) return;
	const text = Buffer.from(JSON.stringify(body));
	res.writeHead(status, {
		"content-type": "application/json",
		"content-length": text.length,
		connection: "close",
	});
	res.end(text);
}

async function outcome(req: IncomingMessage, commands: Commands, log: Log): Promise<Outcome> {
	const name = (req.url ?? "/").slice(1);
	try {
		const found = Object.hasOwn(commands, name) ? commands[name] : undefined;
		if (!found) {
			return failed(
				404,
				controlError(
					"COMMAND_UNKNOWN",
					`The door knows no command ${JSON.stringify(name)}.`,
					`It knows: ${Object.keys(commands).join(", ")}.`,
				),
			);
		}
		if (req.method !== "POST")
			return failed(405, controlError("METHOD", "Commands are POSTed.", "Send POST with a JSON body."));
		const input = found.input.safeParse(await readJson(req));
		if (!input.success)
			return failed(
				400,
				controlError("INPUT", z.prettifyError(input.error), `Correct the body of \`${name}\`.`),
			);
		return { status: 200, body: await found.run(input.data) };
	} catch (error) {
		if (error instanceof AccountsError)
			return failed(error.status, controlError(error.code, error.message, error.fix));
		if (error instanceof BodyError)
			return failed(
				400,
				controlError("INPUT", error.message, `Send one JSON object of at most ${MOST_BYTES} bytes.`),
			);
		log.error({ err: error, command: name }, "a control command failed");
		return failed(500, controlError("INTERNAL", `The command ${name} failed.`, "The door's log says why."));
	}
}

const failed = (status: number, body: ControlError): Outcome => ({ status, body });

class BodyError extends Error {}

/** The body; none counts as `{}`. */
async function readJson(req: IncomingMessage): Promise<unknown> {
	const chunks: Buffer[] = [];
	let bytes = 0;
	try {
		for await (const chunk of req) {
			chunks.push(chunk);
			bytes += chunk.length;
			if (bytes > MOST_BYTES) throw new BodyError("The body is too long.");
		}
		const text = Buffer.concat(chunks).toString("utf8").trim();
		return text === "" ? {} : JSON.parse(text);
	} catch (error) {
		throw error instanceof BodyError ? error : new BodyError("The body is not JSON.");
	}
}
