/** Questions to the person at the terminal, and passwords from standard input. */
import { createInterface } from "node:readline/promises";
import { text } from "node:stream/consumers";
import type { Context } from "./command.ts";
import { OpsError } from "./errors.ts";

/**
 * Lets the person type the stack's name before something is removed. `--yes` answers for a script.
 * @throws OpsError NOT_CONFIRMED (exit 6) if nobody can be asked or something else was typed.
 */
export async function confirmByName(context: Context, name: string, loss: string): Promise<void> {
	if (context.yes) return;
	if (!context.interactive) {
		throw notConfirmed(`Nobody can be asked here. ${loss}`, "Add --yes if that is what you want.");
	}
	await typed(context, name, loss);
}

/**
 * The same for what no script may do in passing: `--yes` is no answer to it.
 * @throws OpsError NOT_CONFIRMED (exit 6)
 */
export async function confirmInPerson(context: Context, name: string, loss: string): Promise<void> {
	if (context.interactive) return typed(context, name, loss);
	throw notConfirmed(loss, "If that is what you want: run it at a terminal, without --yes and --json.");
}

/** Yes or no to the person at the terminal; anything but yes is no. */
export async function agrees(
	{ interrupted }: Pick<Context, "interrupted">,
	question: string,
): Promise<boolean> {
	const lines = createInterface({ input: process.stdin, output: process.stderr });
	try {
		const answer = await lines.question(`${question} [y/N] `, { signal: interrupted });
		return /^y(es)?$/i.test(answer.trim());
	} finally {
		lines.close();
	}
}

async function typed(context: Context, name: string, loss: string): Promise<void> {
	const lines = createInterface({ input: process.stdin, output: process.stderr });
	try {
		context.report.note(loss);
		const answer = await lines.question(`Type the name ${name} to go on: `, { signal: context.interrupted });
		if (answer.trim() === name) return;
		throw notConfirmed(`"${answer.trim()}" is not "${name}".`, "Run it again and type the name.");
	} finally {
		lines.close();
	}
}

const notConfirmed = (why: string, fix: string): OpsError =>
	new OpsError({ code: "NOT_CONFIRMED", kind: "dataRisk", what: "Nothing was touched.", why, fix });

/** A password as the first line of standard input, for `--password-stdin`. */
export async function passwordFromStdin(): Promise<string> {
	if (process.stdin.isTTY) {
		throw new OpsError({
			code: "PASSWORD_FROM_TERMINAL",
			kind: "usage",
			what: "--password-stdin reads the password from a pipe, and standard input is a terminal.",
			fix: "Pipe it in (pass show mlgate | npx mlgate ... --password-stdin), or leave the option out for a one-time link.",
		});
	}
	const [password = ""] = (await text(process.stdin)).split(/\r?\n/);
	if (password) return password;
	throw new OpsError({
		code: "PASSWORD_EMPTY",
		kind: "usage",
		what: "Standard input held no password.",
		fix: "Pipe the password in, as one line.",
	});
}
