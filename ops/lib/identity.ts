/** What readers need to know of a stack, from its configuration file alone: no Pulumi, no waiting. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { load } from "js-yaml";
import { PROJECT } from "../../infra/contract.ts";
import { parseSettings, SETTINGS, type Settings, SettingsError } from "../../infra/settings.ts";
import { OpsError } from "./errors.ts";

export const configFile = (stack: string) => `Pulumi.${stack}.yaml`;

/** The plain values of the stack's configuration, without the project's prefix. A secret is not plain. */
export function readConfig(checkout: string, stack: string): Record<string, string> {
	const file = configFile(stack);
	let text: string;
	try {
		text = readFileSync(join(checkout, file), "utf8");
	} catch (error) {
		if ((error as NodeJS.ErrnoException).code === "ENOENT") return {};
		throw unreadable(file, error);
	}
	let document: unknown;
	try {
		document = load(text);
	} catch (error) {
		throw unreadable(file, error);
	}
	const { config } = (document ?? {}) as { config?: Record<string, unknown> };
	const plain = Object.entries(config ?? {}).filter(
		([key, value]) => key.startsWith(`${PROJECT}:`) && typeof value !== "object",
	);
	return Object.fromEntries(plain.map(([key, value]) => [key.slice(PROJECT.length + 1), String(value)]));
}

export interface Identity {
	/** What everything of the stack is called on the host. */
	name: string;
	url: string;
	port: number;
}

/** Name and port, whatever else may be wrong with the settings. */
export function identify(checkout: string, stack: string): Identity {
	const config = readConfig(checkout, stack);
	const port = Number(config.port ?? SETTINGS.port.default());
	return { name: config.name ?? SETTINGS.name.default(stack), port, url: `http://localhost:${port}` };
}

/** All settings, checked together. @throws OpsError SETTINGS_INVALID (exit 3) with everything that is wrong. */
export function readSettings(checkout: string, stack: string): Settings {
	try {
		return parseSettings(readConfig(checkout, stack), stack);
	} catch (error) {
		throw error instanceof SettingsError ? invalidSettings(error, stack) : error;
	}
}

export function invalidSettings(error: SettingsError, stack: string): OpsError {
	const { problems } = error;
	const [only] = problems;
	return new OpsError({
		code: "SETTINGS_INVALID",
		kind: "precondition",
		what:
			problems.length === 1
				? `A setting in ${configFile(stack)} is wrong.`
				: `${problems.length} settings in ${configFile(stack)} are wrong.`,
		why: problems.map(({ what }) => what).join("\n     "),
		fix: problems.length === 1 && only ? only.fix : problems.map(({ fix }) => `\n     ${fix}`).join(""),
	});
}

function unreadable(file: string, cause: unknown): OpsError {
	return new OpsError(
		{
			code: "CONFIG_UNREADABLE",
			kind: "precondition",
			what: `${file} cannot be read.`,
			why: cause instanceof Error ? cause.message.split("\n")[0] : String(cause),
			fix: `Mend ${file}, or put it back from a copy. Do not delete it: it holds the stack's encrypted secrets.`,
		},
		{ cause },
	);
}
