/** Runs programs of the command line as processes of their own. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

export const FIXTURE = fileURLToPath(new URL("./fixture.ts", import.meta.url));
export const MAIN = fileURLToPath(new URL("../../../ops/main.ts", import.meta.url));

export interface Ended {
	code: number | null;
	stdout: string;
	stderr: string;
}

export interface Running {
	child: ChildProcess;
	ended: Promise<Ended>;
	/** Resolves when stderr has said `text`. */
	said(text: string): Promise<void>;
}

export const newCheckout = () => mkdtempSync(join(tmpdir(), "mlgate-test-"));

export function begin(program: string, args: readonly string[], env: Record<string, string> = {}): Running {
	const child = spawn(process.execPath, [program, ...args], {
		env: { ...process.env, ...env },
		stdio: ["ignore", "pipe", "pipe"],
	});
	const out = { stdout: "", stderr: "" };
	child.stdout.on("data", (data) => {
		out.stdout += data;
	});
	child.stderr.on("data", (data) => {
		out.stderr += data;
	});
	const ended = once(child, "close").then(([code]) => ({ code: code as number | null, ...out }));
	return {
		child,
		ended,
		async said(text) {
			while (!out.stderr.includes(text)) {
				if (child.exitCode !== null) throw new Error(`ended without saying "${text}": ${out.stderr}`);
				await new Promise((resolve) => setTimeout(resolve, 20));
			}
		},
	};
}

export const fixture = (checkout: string, args: readonly string[], env: Record<string, string> = {}) =>
	begin(FIXTURE, args, { ...env, CHECKOUT: checkout });

export function logsOf(checkout: string): { name: string; text: string }[] {
	const folder = join(checkout, ".mlgate", "logs");
	return readdirSync(folder).map((name) => ({ name, text: readFileSync(join(folder, name), "utf8") }));
}
