import { createInterface } from "node:readline";
import { InvalidArgumentError } from "commander";
import type { ProcessPromise } from "zx";
import { PARTS, type Part } from "../../infra/contract.ts";
import { type Context, defineCommand, wholeNumber } from "../lib/command.ts";
import { type Container, containersOf, failed, partOf, start } from "../lib/docker.ts";
import { OpsError } from "../lib/errors.ts";
import { identify } from "../lib/identity.ts";
import { painter, type Style } from "../lib/paint.ts";
import { sleep } from "../lib/sleep.ts";
import { list } from "../lib/text.ts";

interface Line {
	/** ISO time with nanoseconds. */
	time: string;
	part: Part;
	stream: "stdout" | "stderr";
	line: string;
}

/** While following: how often to look for the container that came in the place of one that ended. */
const LOOK_AGAIN_MS = 1_000;

export const command = defineCommand({
	name: "logs",
	summary: "what the parts wrote; JSON lines with --json",
	arguments: { part: { summary: `one of ${list(PARTS)}; all if left out`, optional: true } },
	options: {
		follow: { summary: "go on as new lines come, also over restarts" },
		since: { value: "time", summary: "from then on: 10m, 2h, or an ISO time" },
		tail: {
			value: "lines",
			summary: "at most so many of the last lines of each part",
			parse: wholeNumber({ min: 0, max: 1_000_000 }),
		},
		grep: {
			value: "pattern",
			summary: "only lines that match: a regular expression, upper or lower case",
			parse: pattern,
		},
	},
	locks: false,
	async run(context, { part }, { follow, since, tail, grep }) {
		const parts = part ? [known(part)] : PARTS;
		const { name } = identify(context);
		const range = { since, tail: tail === undefined ? undefined : String(tail) };
		const show = shower(context, grep);
		if (follow) await Promise.all(parts.map((one) => followPart(context, name, one, range, show)));
		else await printAll(context, name, parts, range, show);
		return undefined;
	},
});

interface Range {
	since: string | undefined;
	tail: string | undefined;
}

function known(part: string): Part {
	const found = PARTS.find((one) => one === part);
	if (found) return found;
	throw new OpsError({
		code: "PART_UNKNOWN",
		kind: "usage",
		what: `There is no part "${part}".`,
		why: `The parts are ${list(PARTS)}.`,
		fix: "npx mlgate logs [part]",
	});
}

const logArgs = (container: Container, { since, tail }: Range, more: readonly string[] = []) => [
	"logs",
	"--timestamps",
	...(since ? ["--since", since] : []),
	...(tail ? ["--tail", tail] : []),
	...more,
	container.Id,
];

/** Hands every line of a `docker logs` to `take` as it comes. */
async function read(process: ProcessPromise, part: Part, take: (line: Line) => void): Promise<void> {
	const streams = ["stdout", "stderr"] as const;
	await Promise.all(
		streams.map(async (stream) => {
			for await (const text of createInterface({ input: process[stream] })) {
				const [, time, line] = /^(\d{4}-\S+Z) ?(.*)$/.exec(text) ?? [];
				if (time !== undefined && line !== undefined) take({ time, part, stream, line });
			}
		}),
	);
}

/** Everything up to now, all parts in the order of time. */
async function printAll(
	context: Context,
	name: string,
	parts: readonly Part[],
	range: Range,
	show: Show,
): Promise<void> {
	const containers = await containersOf(name);
	const lines: Line[] = [];
	await Promise.all(
		parts.map(async (part) => {
			const container = containers.find((one) => partOf(one) === part);
			if (!container) return;
			const args = logArgs(container, range);
			const process = start(args, { signal: context.interrupted });
			await read(process, part, (line) => lines.push(line));
			const { exitCode, stderr } = await process;
			if (exitCode !== 0 && !context.interrupted.aborted) throw badRange(failed(args, stderr));
		}),
	);
	lines.sort((a, b) => a.time.localeCompare(b.time));
	const shown = lines.filter(show).length;
	if (lines.length === 0)
		context.report.note(`No log lines: ${name} has no containers, or they wrote nothing then.`);
	else if (shown === 0) context.report.note(`None of ${lines.length} lines matches.`);
}

async function followPart(
	context: Context,
	name: string,
	part: Part,
	range: Range,
	show: Show,
): Promise<void> {
	let { since, tail } = range;
	let last = "";
	while (!context.interrupted.aborted) {
		const container = (await containersOf(name)).find((one) => partOf(one) === part);
		if (container?.State.Status === "running") {
			const args = logArgs(container, { since, tail }, ["--follow"]);
			const process = start(args, { signal: context.interrupted });
			await read(process, part, (line) => {
				// After a restart docker gives again what was shown already.
				if (line.time <= last) return;
				last = line.time;
				show(line);
			});
			const { exitCode, stderr } = await process;
			if (exitCode !== 0 && last === "" && !context.interrupted.aborted) throw badRange(failed(args, stderr));
			since = last || since;
			tail = undefined;
		}
		await sleep(LOOK_AGAIN_MS, context.interrupted).catch(() => {});
	}
}

/** The one thing a person can get wrong here. */
function badRange(error: OpsError): OpsError {
	if (!/invalid value for "since"|time|duration/i.test(error.problem.why ?? "")) return error;
	return new OpsError({
		code: "SINCE_INVALID",
		kind: "usage",
		what: "--since is not a time.",
		why: error.problem.why ?? "",
		fix: "Write a duration like 10m or 2h, or a time like 2026-01-31T12:00:00Z.",
	});
}

/** Prints a line if it is wanted. */
type Show = (line: Line) => boolean;

/** So that the eye finds the lines of one part among those of all. */
const COLOURS: Readonly<Record<Part, Style>> = {
	postgres: "blue",
	minio: "magenta",
	mlflow: "good",
	door: "cyan",
	api: "warn",
	tailscale: "bold",
};

function shower({ json, print }: Context, grep: RegExp | undefined): Show {
	const paint = painter();
	return ({ time, part, stream, line }) => {
		if (grep && !grep.test(line)) return false;
		if (json) print(`${JSON.stringify({ time, part, stream, line })}\n`);
		else {
			const name = paint(COLOURS[part], part.padEnd(8));
			print(`${paint("dim", `${time.slice(0, 19)}Z`)} ${name} ${line}\n`);
		}
		return true;
	};
}

function pattern(text: string): RegExp {
	try {
		return new RegExp(text, "i");
	} catch (error) {
		throw new InvalidArgumentError(`It is no regular expression: ${(error as Error).message}.`);
	}
}
