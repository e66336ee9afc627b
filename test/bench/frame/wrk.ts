/** Small requests, one after the other on each connection. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { run } from "../../support/mlgate.ts";
import { QUICK } from "./measure.ts";

export interface Load {
	requests: number;
	seconds: number;
	/** Milliseconds. */
	p50: number;
	p99: number;
	worst: number;
	/** Answers that were no success. */
	refused: number;
	/** Requests without an answer. */
	broken: number;
}

export interface LoadOptions {
	origin: string;
	/**
	 * Asked in turn, each with a token of its own. More than there are connections: the door computes equal reads
	 * that meet once, and what is measured here is the way through it.
	 */
	paths: readonly string[];
	tokens: readonly string[];
	connections: number;
	seconds: number;
	folder: string;
	/** On this core alone. */
	core?: number | undefined;
}

/** @throws if a request failed: what is fast because it refuses is no result */
export async function load(options: LoadOptions): Promise<Load> {
	const result = await tryLoad(options);
	const { requests, refused, broken } = result;
	if (requests === 0) throw new Error(`${options.origin}: not one answer in ${options.seconds} s`);
	if (refused + broken > 0) {
		throw new Error(
			`${options.origin}: of ${requests} requests ${refused} were refused and ${broken} got no answer`,
		);
	}
	return result;
}

export async function tryLoad({
	origin,
	paths,
	tokens,
	connections,
	seconds,
	folder,
	core,
}: LoadOptions): Promise<Load> {
	const file = join(folder, "asked");
	const lines = paths.map((path, i) => `${path} ${tokens[i % tokens.length]}\n`);
	writeFileSync(file, lines.join(""), { mode: 0o600 });
	const pinned = core === undefined ? [] : ["taskset", "--cpu-list", String(core)];
	const [program = "", ...args] = [
		...pinned,
		"wrk",
		...["--threads", "1", "--connections", String(connections), "--duration", `${QUICK ? 1 : seconds}s`],
		...["--timeout", "60s", "--script", join(import.meta.dirname, "wrk.lua"), origin, "--", file],
	];
	const ended = await run(program, args);
	const line = /^RESULT (.*)$/m.exec(ended.stdout)?.[1];
	if (ended.code !== 0 || line === undefined) throw new Error(`wrk: ${ended.stdout}${ended.stderr}`);
	return JSON.parse(line);
}
