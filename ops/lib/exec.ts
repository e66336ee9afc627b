/** Runs the programs of the toolchain: arguments as they are (no shell), output line by line, never a throw. */
import { spawn } from "node:child_process";
import type { Readable } from "node:stream";

export interface Outcome {
	/** Exit code; 127 if the program does not exist, 128 + n after signal n. */
	code: number;
	stdout: string;
	stderr: string;
	/** It did not end within `timeoutMs` and was ended. */
	timedOut: boolean;
}

export interface ExecOptions {
	cwd?: string;
	env?: NodeJS.ProcessEnv;
	/** Goes to standard input; without it there is none. */
	input?: Readable | string;
	/** Every line of both streams as it comes. */
	onLine?: (line: string) => void;
	timeoutMs?: number;
	signal?: AbortSignal;
}

const KILL_AFTER_MS = 5_000;
/** Of long outputs the end is kept: that is where the errors are. */
const KEPT_CHARS = 1 << 20;

export async function exec(command: readonly string[], options: ExecOptions = {}): Promise<Outcome> {
	const { cwd, env, input, onLine, timeoutMs, signal } = options;
	const [program = "", ...args] = command;
	const outcome: Outcome = { code: 0, stdout: "", stderr: "", timedOut: false };
	if (signal?.aborted) return { ...outcome, code: 130, stderr: "interrupted" };

	const child = spawn(program, args, {
		cwd,
		env,
		stdio: [input === undefined ? "ignore" : "pipe", "pipe", "pipe"],
	});
	let kill: NodeJS.Timeout | undefined;
	const end = () => {
		child.kill("SIGTERM");
		kill ??= setTimeout(() => child.kill("SIGKILL"), KILL_AFTER_MS);
	};
	const timer = setTimeout(
		() => {
			outcome.timedOut = true;
			end();
		},
		timeoutMs ?? 2 ** 31 - 1,
	);
	signal?.addEventListener("abort", end, { once: true });

	for (const stream of ["stdout", "stderr"] as const) {
		const lines = splitter(onLine);
		child[stream]?.setEncoding("utf8").on("data", (chunk: string) => {
			outcome[stream] = (outcome[stream] + chunk).slice(-KEPT_CHARS);
			lines.push(chunk);
		});
		child[stream]?.on("end", lines.end);
	}
	if (child.stdin) {
		// A program that ends without reading all of it says why on its own.
		child.stdin.on("error", () => {});
		if (typeof input === "string") child.stdin.end(input);
		else input?.on("error", end).pipe(child.stdin);
	}

	outcome.code = await new Promise<number>((resolve) => {
		child.once("error", (error) => {
			outcome.stderr += error.message;
			resolve(127);
		});
		child.once("close", (code, name) => resolve(code ?? (name === "SIGKILL" ? 137 : 143)));
	});
	clearTimeout(timer);
	clearTimeout(kill);
	signal?.removeEventListener("abort", end);
	return outcome;
}

function splitter(onLine: ((line: string) => void) | undefined) {
	let rest = "";
	return {
		push(chunk: string): void {
			if (!onLine) return;
			const lines = (rest + chunk).split(/\r\n|\n|\r/);
			rest = lines.pop() ?? "";
			for (const line of lines) if (line.trim()) onLine(line);
		},
		end(): void {
			if (onLine && rest.trim()) onLine(rest);
			rest = "";
		},
	};
}

/** The last line that says something; builds and installers say there what went wrong. */
export function lastLine(text: string): string {
	return (
		text
			.split(/\r\n|\n|\r/)
			.findLast((line) => line.trim())
			?.trim() ?? ""
	);
}
