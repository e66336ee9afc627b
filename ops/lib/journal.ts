/**
 * What the changing commands did, step by step: `.mlgate/journal/<stack>.jsonl`. Written at once, so that after a kill
 * it still says where the command was; `why` reads in it what changed before something died. Nothing begins without its
 * first line; what has begun goes on although the disk has become full.
 */
import { randomUUID } from "node:crypto";
import { appendFileSync, existsSync, mkdirSync, readFileSync, renameSync, statSync } from "node:fs";
import { hostname, userInfo } from "node:os";
import { join } from "node:path";
import { unlessFull } from "./disk.ts";
import { processIdentity } from "./processes.ts";

/** When the file is this long a new one is begun; the one before it is kept. Bytes. */
const LONGEST = 1 << 20;

export interface JournalStep {
	title: string;
	/** ISO time. */
	at: string;
	/** Missing: the command was ended in the middle of it, or is still at it. */
	outcome?: "done" | "failed";
	ms?: number;
}

/** One command, from its begin to its end. */
export interface Run {
	id: string;
	/** e.g. `up`. */
	command: string;
	/** What it was about, if it said so: the id of a backup, a setting. */
	about?: string;
	/** `user@host` */
	who: string;
	host: string;
	pid: number;
	/** Boot and start time of the process. */
	process: string;
	/** ISO time. */
	since: string;
	steps: JournalStep[];
	/** Missing: it was killed, or is still at work. */
	ended?: { at: string; code: number };
}

type Line = { run: string; at: string } & (
	| { event: "begin"; command: string; who: string; host: string; pid: number; process: string }
	| { event: "about"; about: string }
	| { event: "step"; step: number; title: string }
	| { event: "done" | "failed"; step: number; ms: number }
	| { event: "end"; code: number }
);

/** Before `Omit` each kind by itself. */
type Entry<L = Line> = L extends Line ? Omit<L, "run" | "at"> : never;

export interface Writing {
	/** @returns what is called at the step's end. */
	step(title: string): (outcome: "done" | "failed") => void;
	about(text: string): void;
	end(code: number): void;
}

const fileOf = (folder: string, stack: string) => join(folder, `${stack}.jsonl`);

export function beginRun(folder: string, stack: string, command: string): Writing {
	mkdirSync(folder, { recursive: true, mode: 0o700 });
	const file = fileOf(folder, stack);
	if (existsSync(file) && statSync(file).size > LONGEST) renameSync(file, `${file}.old`);
	const run = randomUUID();
	const write = (entry: Entry, before = "") =>
		appendFileSync(file, `${before}${JSON.stringify({ run, at: new Date().toISOString(), ...entry })}\n`, {
			mode: 0o600,
		});
	const host = hostname();
	const process = processIdentity(globalThis.process.pid) ?? "";
	const who = `${userInfo().username}@${host}`;
	const goOn = (entry: Entry) => unlessFull(() => write(entry));
	// A line that a kill cut off is ended first.
	write({ event: "begin", command, who, host, pid: globalThis.process.pid, process }, "\n");
	let steps = 0;
	return {
		step(title) {
			const step = steps++;
			const begun = performance.now();
			goOn({ event: "step", step, title });
			return (event) => goOn({ event, step, ms: Math.round(performance.now() - begun) });
		},
		about: (about) => goOn({ event: "about", about }),
		end: (code) => goOn({ event: "end", code }),
	};
}

/** The runs that the journal knows, the oldest first. Lines that were cut off are left out. */
export function readRuns(folder: string, stack: string): Run[] {
	const file = fileOf(folder, stack);
	const runs = new Map<string, Run>();
	for (const line of [`${file}.old`, file].flatMap(linesOf)) take(runs, line);
	return [...runs.values()];
}

function take(runs: Map<string, Run>, line: Line): void {
	if (line.event === "begin") {
		const { run: id, at: since, event: _, ...begun } = line;
		runs.set(id, { id, since, ...begun, steps: [] });
		return;
	}
	const run = runs.get(line.run);
	if (!run) return;
	switch (line.event) {
		case "about":
			run.about = line.about;
			break;
		case "step":
			run.steps[line.step] = { title: line.title, at: line.at };
			break;
		case "end":
			run.ended = { at: line.at, code: line.code };
			break;
		default: {
			const step = run.steps[line.step];
			if (step) Object.assign(step, { outcome: line.event, ms: line.ms });
		}
	}
}

function linesOf(file: string): Line[] {
	if (!existsSync(file)) return [];
	return readFileSync(file, "utf8")
		.split("\n")
		.flatMap((text) => {
			try {
				return [JSON.parse(text) as Line];
			} catch {
				return [];
			}
		});
}

/** The last run, if it was killed before it could end. */
export function cutOff(runs: readonly Run[]): Run | undefined {
	const last = runs.at(-1);
	if (!last || last.ended) return undefined;
	const lives = last.host !== hostname() || processIdentity(last.pid) === last.process;
	return lives ? undefined : last;
}

/** The innermost step that a run was in when it was killed. */
export const lastStep = ({ steps }: Run): string | undefined =>
	steps.findLast(({ outcome }) => outcome === undefined)?.title;
