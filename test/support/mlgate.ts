import { type ChildProcess, spawn } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { OPTIONAL_PARTS, PARTS } from "../../infra/contract.ts";

/** The checkout under test. */
export const CHECKOUT = fileURLToPath(new URL("../..", import.meta.url));

/** The test's own stack: own name, port, volumes. It never touches the user's. Another name for a second checkout's. */
export const STACK = process.env.MLGATE_TEST_STACK ?? "e2e";
export const NAME = `mlgate-${STACK}`;

/** What runs in it, whose funnel is off. In the order in which it starts. */
export const RUNNING_PARTS = PARTS.filter((part) => !OPTIONAL_PARTS.has(part));

export interface Ended {
	code: number;
	stdout: string;
	stderr: string;
	seconds: number;
}

export interface RunOptions {
	input?: string;
	env?: Record<string, string>;
	/** Ends the process with SIGINT after this many milliseconds. */
	interruptAfter?: number;
	/** Called with the process id once it runs. */
	onStart?: (pid: number) => void;
	/** Done once, as soon as stderr has the text. */
	once?: { said: string; run: (process: ChildProcess) => void };
}

/** Runs a program to its end and hands back everything it said. Never throws for an exit code. */
export function run(command: string, args: readonly string[], options: RunOptions = {}): Promise<Ended> {
	return new Promise((resolve, reject) => {
		const started = performance.now();
		const child = spawn(command, args, { cwd: CHECKOUT, env: { ...process.env, ...options.env } });
		let stdout = "";
		let stderr = "";
		child.stdout.setEncoding("utf8").on("data", (text: string) => {
			stdout += text;
		});
		child.stderr.setEncoding("utf8").on("data", (text: string) => {
			const before = stderr;
			stderr += text;
			const { said, run } = options.once ?? {};
			if (said && stderr.includes(said) && !before.includes(said)) run?.(child);
		});
		child.on("error", reject);
		child.stdin.on("error", () => {});
		child.stdin.end(options.input ?? "");
		if (child.pid !== undefined) options.onStart?.(child.pid);
		if (options.interruptAfter !== undefined) setTimeout(() => child.kill("SIGINT"), options.interruptAfter);
		child.on("close", (code, signal) =>
			resolve({
				code: code ?? (signal === "SIGINT" ? 130 : 1),
				stdout,
				stderr,
				seconds: (performance.now() - started) / 1000,
			}),
		);
	});
}

/** Types `mlgate <args>` for the test's stack. */
export function mlgate(args: readonly string[], options: RunOptions = {}): Promise<Ended> {
	return run("node", ["ops/mlgate.mjs", ...args, "--stack", STACK], options);
}

/** Like `mlgate`, and fails with everything it said unless it ended with 0. */
export async function mustRun(args: readonly string[], options: RunOptions = {}): Promise<Ended> {
	const ended = await mlgate(args, options);
	if (ended.code !== 0) {
		throw new Error(`mlgate ${args.join(" ")} ended with ${ended.code}\n${ended.stdout}\n${ended.stderr}`);
	}
	return ended;
}

/** Types `mlgate <args> --json` and parses its one document. */
// biome-ignore lint/suspicious/noExplicitAny: each test names the fields it looks at
export async function mustAnswer(args: readonly string[], options: RunOptions = {}): Promise<any> {
	return JSON.parse((await mustRun([...args, "--json"], options)).stdout);
}

/** Runs `docker <args>`; fails with what it said. Returns stdout, trimmed. */
export async function docker(...args: string[]): Promise<string> {
	const ended = await run("docker", args);
	if (ended.code !== 0) throw new Error(`docker ${args.join(" ")}: ${ended.stderr}`);
	return ended.stdout.trim();
}

/** The port that `npm start` told for the test's stack. */
export async function stackPort(): Promise<number> {
	return Number((await mustRun(["config", "get", "port"])).stdout.trim());
}

/** An API token made the way a user makes one. */
export async function token(role: "viewer" | "editor" | "admin", name = `test-${role}`): Promise<string> {
	return (await mustRun(["tokens", "create", "--name", name, "--role", role])).stdout.trim();
}

/**
 * Waits for a stack that nobody helps.
 * @param mlgate types it where the stack is known; @param patience milliseconds
 * @returns after how many seconds `status` ended with 0.
 */
export async function backByItself(
	mlgate: (...args: string[]) => Promise<Ended>,
	patience: number,
): Promise<number> {
	for (const start = performance.now(); ; await sleep(2_000)) {
		const { code, stdout } = await mlgate("status");
		const took = performance.now() - start;
		if (code === 0) return took / 1000;
		if (took > patience) throw new Error(`status still ends with ${code}: ${stdout}`);
	}
}
