/**
 * `node client.ts <command>`: asks the running door over its control socket. The body comes on stdin (nothing:
 * `{}`), the JSON answer goes to stdout. Ends 0, or 1 with the error document.
 */
import { request } from "node:http";
import { text } from "node:stream/consumers";
import { pathToFileURL } from "node:url";
import { PATH } from "../../infra/contract.ts";
import { controlError } from "./protocol.ts";

/** Milliseconds; each command has limits of its own well below it. The longest is a hold that drains. */
const LONGEST_WAIT = 660_000;

export interface ControlAnswer {
	ok: boolean;
	/** JSON. */
	body: string;
}

/** Never rejects: a door that does not answer is an error document like any other. */
export async function ask(socketPath: string, command: string, body: string): Promise<ControlAnswer> {
	return await new Promise((resolve) => {
		const unreachable = (error: Error) =>
			resolve({
				ok: false,
				body: JSON.stringify(
					controlError(
						"DOOR_UNREACHABLE",
						`The door does not answer on ${socketPath}: ${error.message}.`,
						"Look at the door's log.",
					),
				),
			});
		const req = request(
			{ socketPath, path: `/${encodeURI(command)}`, method: "POST", timeout: LONGEST_WAIT },
			(res) => {
				text(res).then((answer) => resolve({ ok: res.statusCode === 200, body: answer }), unreachable);
			},
		);
		req.on("timeout", () => req.destroy(new Error("no answer in time")));
		req.on("error", unreachable);
		req.end(body);
	});
}

async function main(): Promise<void> {
	const [command, ...more] = process.argv.slice(2);
	if (command === undefined || more.length > 0) {
		process.stdout.write(
			`${JSON.stringify(controlError("USAGE", "One command, please.", "node client.ts <command> < body.json"))}\n`,
		);
		process.exitCode = 1;
		return;
	}
	const body = process.stdin.isTTY ? "" : await text(process.stdin);
	const answer = await ask(process.env.DOOR_CONTROL_SOCKET ?? PATH.controlSocket, command, body);
	process.stdout.write(`${answer.body}\n`);
	process.exitCode = answer.ok ? 0 : 1;
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) await main();
