/** One dated log file a command: `.mlgate/logs/<time>-<command>.log`. It holds no secrets. */
import { appendFileSync, existsSync, mkdirSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { unlessFull } from "./disk.ts";

/** Older ones are removed: `status` in a loop must not fill the disk. */
const KEPT = 300;

export interface Log {
	path: string;
	write(text: string): void;
}

/** What must not get into a log even if the output of some tool has it: tokens, sessions, keys, one-time links. */
const SECRETS: readonly [RegExp, string][] = [
	[/eyJ[\w-]{8,}\.[\w-]+\.[\w-]+/g, "[token]"],
	[/tskey-[\w-]+/g, "[key]"],
	[/\/invite\/[\w-]+/g, "/invite/[code]"],
];

export function redact(text: string): string {
	return SECRETS.reduce((result, [pattern, instead]) => result.replace(pattern, instead), text);
}

/**
 * Starts the log of a command, e.g. `up` or `users add`. Written at once, so that a crash loses no line. On a full disk it
 * ends where the room does: what the command has to say of that comes all the same.
 */
export function openLog(folder: string, command: string, now: Date = new Date()): Log {
	unlessFull(() => mkdirSync(folder, { recursive: true, mode: 0o700 }));
	prune(folder);
	const name = `${now.toISOString().replaceAll(":", "-")}-${command.replaceAll(" ", "-")}.log`;
	const path = join(folder, name);
	return {
		path,
		write(text) {
			const time = new Date().toISOString();
			const lines = redact(text).split("\n");
			unlessFull(() =>
				appendFileSync(path, lines.map((line) => `${time} ${line}\n`).join(""), { mode: 0o600 }),
			);
		},
	};
}

function prune(folder: string): void {
	if (!existsSync(folder)) return;
	const logs = readdirSync(folder).filter((name) => name.endsWith(".log"));
	// The name begins with the time: the first ones are the oldest.
	for (const name of logs.sort().slice(0, Math.max(0, logs.length - KEPT + 1))) {
		rmSync(join(folder, name), { force: true });
	}
}
