/** Root rights: had, or lent by sudo after a yes. Used for what Debian's own packages need, nothing else. */
import { spawn } from "node:child_process";
import { createInterface } from "node:readline/promises";
import { OpsError } from "./errors.ts";
import { type ExecOptions, exec, lastLine, type Outcome } from "./exec.ts";
import type { Report } from "./report.ts";
import { which } from "./which.ts";

/** What the person allows: `yes` answers every question, `interactive` means that there is somebody to ask. */
export interface Consent {
	yes: boolean;
	interactive: boolean;
}

/** What is wanted of root. */
export interface Errand {
	/** After "mlgate needs root rights to": "install Docker from Debian's packages". */
	purpose: string;
	/** What the person can run instead, as one shell line. */
	byHand: string;
}

/** Runs commands as root. Variables in `env` reach them through sudo, the rest of the environment may not. */
export type AsRoot = (command: readonly string[], options?: RootOptions) => Promise<Outcome>;
export interface RootOptions extends Omit<ExecOptions, "env"> {
	env?: Record<string, string>;
}

const direct: AsRoot = (command, { env, ...options } = {}) =>
	exec(command, { ...options, env: { ...process.env, ...env } });

/** Names, not values, in the arguments: everybody on the host can read those. */
const bySudo: AsRoot = (command, { env = {}, ...options } = {}) => {
	const names = Object.keys(env);
	const keep = names.length > 0 ? [`--preserve-env=${names.join(",")}`] : [];
	return exec(["sudo", "-n", ...keep, "--", ...command], { ...options, env: { ...process.env, ...env } });
};

export const isRoot = () => process.getuid?.() === 0;

/**
 * Gets hold of root rights before a step begins: questions and sudo's password do not mix with a spinner.
 * @throws OpsError ROOT_NEEDED if they are not to be had.
 */
export async function becomeRoot(report: Report, consent: Consent, errand: Errand): Promise<AsRoot> {
	if (isRoot()) return direct;
	if (!which("sudo")) {
		const asRoot = errand.byHand.replaceAll("sudo ", "");
		const why = "This user is not root, and sudo is not installed.";
		throw rootNeeded(errand, why, `Run this as root, then try again: ${asRoot}`);
	}
	if (!consent.yes) {
		if (!consent.interactive) {
			throw rootNeeded(errand, "Nobody can be asked here.", `Allow it with --yes, or run: ${errand.byHand}`);
		}
		if (!(await agrees(`mlgate needs root rights to ${errand.purpose}. Use sudo for that? [y/N] `))) {
			throw rootNeeded(errand, "The answer was no.");
		}
	}
	const silent = await exec(["sudo", "-n", "true"]);
	if (silent.code === 0) return bySudo;
	report.log(`sudo -n true: ${silent.stderr.trim()}`);
	if (process.stdin.isTTY && (await askPassword()) === 0) return bySudo;
	throw rootNeeded(errand, lastLine(silent.stderr) || "sudo refused.");
}

async function agrees(question: string): Promise<boolean> {
	const lines = createInterface({ input: process.stdin, output: process.stderr });
	try {
		return /^y(es)?$/i.test((await lines.question(question)).trim());
	} finally {
		lines.close();
	}
}

function askPassword(): Promise<number> {
	const child = spawn("sudo", ["-v"], { stdio: "inherit" });
	return new Promise((resolve) => {
		child.once("error", () => resolve(1));
		child.once("close", (code) => resolve(code ?? 1));
	});
}

function rootNeeded(
	{ purpose, byHand }: Errand,
	why: string,
	fix = `Run this, then try again: ${byHand}`,
): OpsError {
	return new OpsError({
		code: "ROOT_NEEDED",
		kind: "precondition",
		what: `mlgate needs root rights to ${purpose}.`,
		why,
		fix,
	});
}
