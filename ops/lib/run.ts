/** Runs one command from its words to the exit code: log, lock, signals, answer, errors. */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type Invocation, parse } from "./cli.ts";
import type { Answer, Command, CommandGroup, Context } from "./command.ts";
import { isDiskFull } from "./disk.ts";
import { EXIT, OpsError, type Problem } from "./errors.ts";
import { beginRun, cutOff, lastStep, type Run, readRuns, type Writing } from "./journal.ts";
import { acquireLock, type Lock } from "./lock.ts";
import { type Log, openLog } from "./log.ts";
import { CHECKOUT, journalFolder, lockFolder, logFolder } from "./paths.ts";
import { groupDescendants, inForeground } from "./processes.ts";
import { createReport, type Report } from "./report.ts";
import { age, duration, firstLine, forStack } from "./text.ts";

/** After a signal the command may finish what it has begun for this long. */
const GRACE_MS = 180_000;
/** One Ctrl-C can arrive several times (terminal, npm, our own launcher); a second one comes later than this. */
const ECHO_MS = 1_000;
/** Who ends within this time need not be told that it takes a while. */
const SOON_MS = 300;
const STOPPING = "Stopping: letting what has begun come to its end. Once more to leave at once.";
/** Children that a terminal's Ctrl-C has reached are on their way out after this long. */
const UNTOLD_MS = 10_000;
/** After a second one the children may still end for this long. */
const LAST_GRACE_MS = 5_000;

export interface RunOptions {
	checkout?: string;
	graceMs?: number;
}

/** @returns the exit code (design section 5). It never throws. */
export async function run(
	commands: readonly (Command | CommandGroup)[],
	argv: readonly string[],
	{ checkout = CHECKOUT, graceMs = GRACE_MS }: RunOptions = {},
): Promise<number> {
	const json = argv.includes("--json");
	let invocation: Invocation;
	try {
		const parsed = parse(commands, argv, version());
		if ("help" in parsed) {
			(parsed.asked ? process.stdout : process.stderr).write(parsed.help);
			return parsed.asked ? EXIT.ok : EXIT.usage;
		}
		invocation = parsed;
	} catch (error) {
		return fail(error, { json });
	}

	let log: Log;
	try {
		log = openLog(logFolder(checkout), invocation.title);
	} catch (error) {
		return fail(notWritable(checkout, error), { json });
	}
	const report = createReport({ stream: process.stderr, log: log.write });
	// Names alone: a value might be something that nobody should read in a log.
	log.write(
		`mlgate ${invocation.title} ${Object.keys(invocation.options)
			.map((name) => `--${name}`)
			.join(" ")}`,
	);
	log.write(`stack ${invocation.stack}, node ${process.version}, process ${process.pid}`);

	const begun = performance.now();
	const code = await guarded(invocation, { checkout, graceMs, report, log });
	log.write(`exit ${code} after ${duration(performance.now() - begun)}`);
	return code;
}

interface Frame {
	checkout: string;
	graceMs: number;
	report: Report;
	log: Log;
}

async function guarded(invocation: Invocation, { checkout, graceMs, report, log }: Frame): Promise<number> {
	const { command, title, stack, json, yes } = invocation;
	const signals = watchSignals(report, graceMs);
	// Nobody reads on (`mlgate logs | head`): a reader stops, a command that changes things goes on to its end.
	const readerGone = watchPipes(() => !command.locks && signals.abort());
	let lock: Lock | undefined;
	let journal: Writing | undefined;
	const ended = (code: number) => {
		journal?.end(code);
		return code;
	};
	try {
		let before: Run | undefined;
		if (command.locks) {
			lock = acquireLock({ folder: lockFolder(checkout), stack, doing: title, note: report.note });
			before = cutOff(readRuns(journalFolder(checkout), stack));
			if (before) report.note(cutOffInWords(before));
			journal = beginRun(journalFolder(checkout), stack, title);
		}
		const context: Context = {
			stack,
			yes,
			json,
			interactive: !yes && !json && process.stdin.isTTY === true && process.stderr.isTTY === true,
			checkout,
			report: journal ? journaled(report, journal) : report,
			interrupted: signals.interrupted,
			about: (text) => journal?.about(text),
			...(before && { cutOff: before }),
			print: (text) => void process.stdout.write(text),
		};
		const answer = await Promise.race([
			command.run(context, invocation.args, invocation.options),
			signals.outOfPatience,
		]);
		if (answer) print(answer, json, stack);
		if (signals.received()) return ended(EXIT.interrupted);
		return ended(EXIT[answer?.exit ?? "ok"]);
	} catch (error) {
		log.write(`error: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
		logCauses(error, log);
		if (signals.received()) return ended(fail(interrupted(title), { json, stack }));
		if (readerGone.happened()) return ended(EXIT.ok);
		return ended(fail(error, { json, stack, log }));
	} finally {
		lock?.release();
		signals.stop();
		readerGone.stop();
	}
}

/** Every step of the report is one of the journal. */
const journaled = (report: Report, journal: Writing): Report => ({
	...report,
	async step(title, work) {
		const end = journal.step(title);
		try {
			const result = await report.step(title, work);
			end("done");
			return result;
		} catch (error) {
			end("failed");
			throw error;
		}
	},
});

function cutOffInWords(run: Run): string {
	const { command, about, who, pid, since } = run;
	const step = lastStep(run);
	const where = step ? ` in the step "${step}"` : " before its first step";
	const what = [command, about].filter(Boolean).join(" ");
	return `The command before this one, \`${what}\` (${who}, process ${pid}, begun ${age(since)} ago), was killed${where}. Going on from what is there.`;
}

function print(answer: Answer, json: boolean, stack: string): void {
	const advice = (key: string, value: unknown) =>
		key === "fix" && typeof value === "string" ? forStack(value, stack) : value;
	const text = json ? JSON.stringify(answer.json, advice, 2) : forStack(answer.text ?? "", stack);
	if (text) process.stdout.write(`${text.trimEnd()}\n`);
}

interface Failing {
	json: boolean;
	stack?: string;
	log?: Log;
}

/** Prints what, why, do this, and the cause last; with `json` also one document on stdout. */
function fail(error: unknown, { json, stack = "local", log }: Failing): number {
	const raw = error instanceof OpsError ? error.problem : unexpected(error, log);
	const problem = { ...raw, fix: forStack(raw.fix, stack) };
	const lines = [`Error: ${problem.what}`];
	if (problem.why) lines.push(`Why: ${problem.why}`);
	lines.push(`Do this: ${problem.fix}`);
	if (log) lines.push(`Log: ${log.path}`);
	const cause = error instanceof OpsError ? causeOf(error) : "";
	if (cause) lines.push(`Cause: ${cause}`);
	lines.push(...lastWords(problem));
	process.stderr.write(`${lines.join("\n")}\n`);
	log?.write(lines.join("\n"));
	if (json) {
		const { code, what, why, fix, said } = problem;
		process.stdout.write(`${JSON.stringify({ error: { code, what, why, fix, said } }, null, 2)}\n`);
	}
	return EXIT[problem.kind];
}

/** What a part said before it ended; the very last thing that is printed. */
function lastWords({ said }: Problem): string[] {
	if (!said || said.lines.length === 0) return [];
	return [`The last lines of ${said.by}:`, ...said.lines.map((line) => `  ${line}`)];
}

/** The deepest message of the chain, unless the problem says it already. */
function causeOf(error: OpsError): string {
	let deepest: unknown = error.cause;
	while (deepest instanceof Error && deepest.cause) deepest = deepest.cause;
	const text = deepest instanceof Error ? firstLine(deepest.message) : "";
	const { what, why = "" } = error.problem;
	const said = [what, why].some((line) => line !== "" && (line.includes(text) || text.includes(line)));
	return said ? "" : text;
}

function logCauses(error: unknown, log: Log): void {
	for (let cause = (error as Error)?.cause; cause instanceof Error; cause = cause.cause) {
		log.write(`caused by: ${cause.stack ?? cause.message}`);
	}
}

function unexpected(error: unknown, log?: Log): Problem {
	if (isDiskFull(error))
		return {
			code: "DISK_FULL",
			kind: "precondition",
			what: "The disk is full.",
			why: firstLine((error as Error).message),
			fix: "Free some space, then run the command again.",
		};
	return {
		code: "UNEXPECTED",
		kind: "internal",
		what: "mlgate met an error that it does not know.",
		why: firstLine(error instanceof Error ? error.message : String(error)),
		fix: `Read the end of the log${log ? "" : " above"}; if it says nothing that you can mend, report it as a bug.`,
	};
}

function notWritable(checkout: string, cause: unknown): OpsError {
	return new OpsError(
		{
			code: "CHECKOUT_NOT_WRITABLE",
			kind: "precondition",
			what: `Cannot write to ${join(checkout, ".mlgate")}.`,
			why: cause instanceof Error ? cause.message : String(cause),
			fix: "Run mlgate as the user whom the checkout belongs to, on a disk with space left.",
		},
		{ cause },
	);
}

function interrupted(title: string): OpsError {
	return new OpsError({
		code: "INTERRUPTED",
		kind: "interrupted",
		what: `\`${title}\` was interrupted.`,
		fix: "Nothing that was stored is lost. Run the same command again to go on.",
	});
}

/**
 * SIGINT, SIGTERM and SIGHUP end a command in order: waits are aborted, children are told once (a terminal tells
 * them itself), and the lock is released when all is over. Who insists gets out after a few seconds.
 */
function watchSignals(report: Report, graceMs: number) {
	const controller = new AbortController();
	let first = 0;
	let insisted = false;
	let slow: NodeJS.Timeout | undefined;
	let leave: (error: Error) => void = () => {};
	const outOfPatience = new Promise<never>((_, reject) => {
		leave = reject;
	});
	outOfPatience.catch(() => {});

	function later(ms: number): void {
		setTimeout(() => {
			for (const pid of groupDescendants()) tell(pid, "SIGKILL");
			leave(new Error("Children did not end in time"));
		}, ms).unref();
	}
	function onSignal(signal: NodeJS.Signals): void {
		const byTerminal = signal === "SIGINT" && inForeground();
		if (first === 0) {
			first = performance.now();
			const tellAll = () => groupDescendants().forEach((pid) => void tell(pid, "SIGINT"));
			// It looks the same if somebody sent the signal to this process alone: whoever goes on then is told later.
			if (byTerminal) setTimeout(tellAll, UNTOLD_MS).unref();
			else tellAll();
			slow = setTimeout(() => report.note(STOPPING), SOON_MS).unref();
			controller.abort(new Error(signal));
			later(graceMs);
		} else if (!insisted && performance.now() - first > ECHO_MS) {
			insisted = true;
			for (const pid of groupDescendants()) tell(pid, "SIGTERM");
			later(LAST_GRACE_MS);
		}
	}
	const watched = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
	for (const signal of watched) process.on(signal, onSignal);
	return {
		interrupted: controller.signal,
		outOfPatience,
		received: () => first > 0,
		abort: () => controller.abort(),
		stop() {
			for (const signal of watched) process.off(signal, onSignal);
			clearTimeout(slow);
		},
	};
}

/** Writing to a pipe that nobody reads is no error of ours. */
function watchPipes(onClosed: () => void) {
	let gone = false;
	function onError(error: NodeJS.ErrnoException): void {
		if (error.code !== "EPIPE") throw error;
		gone = true;
		onClosed();
	}
	process.stdout.on("error", onError);
	process.stderr.on("error", onError);
	return {
		happened: () => gone,
		stop() {
			process.stdout.off("error", onError);
			process.stderr.off("error", onError);
		},
	};
}

function tell(pid: number, signal: NodeJS.Signals): void {
	try {
		process.kill(pid, signal);
	} catch {
		// Gone in the meantime: what was wanted.
	}
}

function version(): string {
	const text = readFileSync(new URL("../../package.json", import.meta.url), "utf8");
	return (JSON.parse(text) as { version: string }).version;
}
