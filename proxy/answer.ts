/**
 * How the door itself answers. Every function here may be called for a client that has left: it then
 * does nothing.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import { DOOR_ERRORS, type DoorError, type DoorErrorCode } from "./errors.ts";
import { endWith } from "./one-write.ts";
import { OWN_HEADERS } from "./safety.ts";

export { SAFE_HEADERS } from "./safety.ts";

/** The rest of a refused request's body is read and dropped within these bounds, then the connection goes. */
const LINGER = { bytes: 256 * 1024 * 1024, ms: 30_000 } as const;

/**
 * Takes the rest of a body off the wire. MLflow's clients read no answer before they have sent everything:
 * whoever closes on them is asked again, five times, with the whole body.
 */
export function linger(req: IncomingMessage): void {
	if (req.complete || req.destroyed) return;
	let left: number = LINGER.bytes;
	const timer = setTimeout(() => req.destroy(), LINGER.ms);
	req.on("data", (chunk: Buffer) => {
		left -= chunk.length;
		if (left < 0) req.destroy();
	});
	req.once("close", () => clearTimeout(timer));
	req.resume();
}

const gone = (res: ServerResponse): boolean => res.destroyed || res.closed || res.socket?.destroyed !== false;

function send(
	req: IncomingMessage,
	res: ServerResponse,
	status: number,
	headers: readonly string[],
	body: Buffer | undefined,
): void {
	if (gone(res)) return;
	if (res.headersSent) {
		// Too late for an answer: a cut connection is the only way left to say that this one is not whole.
		res.destroy();
		return;
	}
	const all = [...OWN_HEADERS, ...headers];
	if (body !== undefined) all.push("Content-Type", "application/json", "Content-Length", String(body.length));
	// Whether a client that waits for `100 Continue` still sends its body cannot be known.
	const waiting = req.headers.expect !== undefined && !res.writableEnded;
	if (waiting) all.push("Connection", "close");
	res.writeHead(status, all);
	if (body === undefined) res.end();
	else endWith(res, body);
	linger(req);
}

const jsonOf = (value: unknown): Buffer => Buffer.from(`${JSON.stringify(value)}\n`);

const BODIES = new Map<DoorErrorCode, Buffer>(
	Object.entries(DOOR_ERRORS).map(([code, { errorCode, message }]) => [
		code as DoorErrorCode,
		jsonOf({ error_code: errorCode, message }),
	]),
);

/** Answers with a row of the error table. */
export function refuse(
	req: IncomingMessage,
	res: ServerResponse,
	code: DoorErrorCode,
	headers: readonly string[] = [],
): void {
	const { status, retryAfter }: DoorError = DOOR_ERRORS[code];
	const own = ["X-Door-Error", code, ...headers];
	if (retryAfter !== undefined && !headers.includes("Retry-After"))
		own.push("Retry-After", String(retryAfter));
	send(req, res, status, own, BODIES.get(code));
}

export function answerJson(req: IncomingMessage, res: ServerResponse, status: number, value: unknown): void {
	send(req, res, status, [], jsonOf(value));
}

/** @param location a path of ours */
export function redirect(req: IncomingMessage, res: ServerResponse, location: string): void {
	send(req, res, 303, ["Location", location, "Content-Length", "0"], undefined);
}

const statusLines: Partial<Record<DoorErrorCode, string>> = {
	REQUEST_MALFORMED: "400 Bad Request",
	HEADERS_TOO_LARGE: "431 Request Header Fields Too Large",
	REQUEST_TIMEOUT: "408 Request Timeout",
	METHOD_UNKNOWN: "405 Method Not Allowed",
};

/** The same for bytes that never became a request: there is no response object then. */
export function rawRefusal(code: keyof typeof statusLines & DoorErrorCode): string {
	const body = BODIES.get(code) ?? Buffer.alloc(0);
	return [
		`HTTP/1.1 ${statusLines[code]}`,
		"Connection: close",
		"Content-Type: application/json",
		`Content-Length: ${body.length}`,
		`X-Door-Error: ${code}`,
		"",
		body.toString(),
	].join("\r\n");
}
