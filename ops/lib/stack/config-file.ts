/**
 * `Pulumi.<stack>.yaml` in the checkout: where the settings of a stack lie, for mlgate and for Pulumi's own CLI.
 * Settings are read and written here without that CLI, so that commands that only need a name need nothing else.
 */
import { existsSync, readFileSync, renameSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { YAML } from "zx";
import { PROJECT } from "../../../infra/contract.ts";
import { IDENTITY_KEY, STORES, type Store } from "../../../infra/identities.ts";
import { SECRET_KEYS, type SecretKey } from "../../../infra/secret-keys.ts";
import {
	isSecretSetting,
	isSettingKey,
	nearest,
	parseSettings,
	SETTING_KEYS,
	SETTINGS,
	type SettingKey,
	type Settings,
	SettingsError,
	type SettingValue,
} from "../../../infra/settings.ts";
import { OpsError } from "../errors.ts";

/** Which stack of which checkout. */
export interface StackRef {
	checkout: string;
	stack: string;
}

export interface ConfigEntry {
	key: SettingKey;
	/** Of a secret: whether there is one, in words. */
	value: SettingValue;
	/** Nobody has set it. */
	isDefault: boolean;
}

/** Shown in place of a secret. */
export const ENCRYPTED = "(encrypted)";

const PREFIX = `${PROJECT}:`;

export function configPath({ checkout, stack }: StackRef): string {
	const yml = join(checkout, `Pulumi.${stack}.yml`);
	return existsSync(yml) ? yml : join(checkout, `Pulumi.${stack}.yaml`);
}

/** @throws OpsError SETTINGS_INVALID with everything that is wrong. */
export function readSettings(ref: StackRef): Settings {
	try {
		return parseSettings(plainConfig(ref), ref.stack);
	} catch (error) {
		throw asOpsError(error);
	}
}

/** Every setting with its value in force. */
export function readConfig(ref: StackRef): ConfigEntry[] {
	const settings = readSettings(ref);
	const given = rawConfig(ref);
	return SETTING_KEYS.map((key) => {
		const isDefault = !Object.hasOwn(given, `${PREFIX}${key}`);
		return { key, value: isSecretSetting(key) && !isDefault ? ENCRYPTED : settings[key], isDefault };
	});
}

/**
 * Writes one setting, if everything is as good with it as it was without it: what was wrong before may stay, so that
 * two bad settings can be mended one after the other.
 * @throws OpsError UNKNOWN_SETTING or SETTINGS_INVALID; nothing is written then.
 */
export function writeSetting(ref: StackRef, key: string, value: string): SettingKey {
	if (!isSettingKey(key)) throw unknownSetting(key);
	const before = plainConfig(ref);
	const known = new Set(problemsOf(before, ref.stack).map(({ what }) => what));
	const fresh = problemsOf({ ...before, [key]: value }, ref.stack).filter(
		(problem) => problem.key === key || !known.has(problem.what),
	);
	if (fresh.length > 0) throw asOpsError(new SettingsError(fresh));
	put(ref, key, value);
	return key;
}

/** Which volumes have the stack's data, as far as that is known. */
export function readIdentities(ref: StackRef): Partial<Record<Store, string>> {
	const config = plainConfig(ref);
	const known = STORES.map((store) => [store, config[IDENTITY_KEY[store]]] as const);
	return Object.fromEntries(known.filter(([, identity]) => identity));
}

/** From here on the store starts on that volume alone. */
export const writeIdentity = (ref: StackRef, store: Store, identity: string): void =>
	put(ref, IDENTITY_KEY[store], identity);

function put(ref: StackRef, key: string, value: string): void {
	const path = configPath(ref);
	const document = parse(path);
	document.setIn(["config", `${PREFIX}${key}`], value);
	replaceFile(path, document.toString({ lineWidth: 0 }));
}

/** The secrets that the file has, encrypted. One in clear does not count: it has been seen. */
export function presentSecrets(ref: StackRef): SecretKey[] {
	const config = rawConfig(ref);
	return SECRET_KEYS.filter((key) => isEncrypted(config[`${PREFIX}${key}`]));
}

/** Whether values in the file are encrypted with a passphrase. */
export function isSealed(ref: StackRef): boolean {
	return typeof parse(configPath(ref)).get("encryptionsalt") === "string";
}

/** Our part of the configuration as text, without prefix and without secrets. */
export function plainConfig(ref: StackRef): Record<string, string> {
	const ours = Object.entries(rawConfig(ref)).filter(
		([key, value]) => key.startsWith(PREFIX) && !isEncrypted(value),
	);
	return Object.fromEntries(ours.map(([key, value]) => [key.slice(PREFIX.length), asText(value)]));
}

function rawConfig(ref: StackRef): Record<string, unknown> {
	const config = parse(configPath(ref)).toJS()?.config;
	return config && typeof config === "object" ? config : {};
}

function parse(path: string) {
	const document = YAML.parseDocument(existsSync(path) ? readFileSync(path, "utf8") : "");
	const [error] = document.errors;
	if (!error) return document;
	throw new OpsError({
		code: "SETTINGS_UNREADABLE",
		kind: "usage",
		what: `${path} is not valid YAML.`,
		why: String(error.message).split("\n")[0] ?? "",
		fix: "Mend the line that is named, or put the file back from a copy.",
	});
}

const isEncrypted = (value: unknown): boolean =>
	typeof value === "object" && value !== null && "secure" in value;

const asText = (value: unknown): string =>
	typeof value === "object" && value !== null ? JSON.stringify(value) : String(value);

function problemsOf(raw: Record<string, string>, stack: string): SettingsError["problems"] {
	try {
		parseSettings(raw, stack);
		return [];
	} catch (error) {
		if (error instanceof SettingsError) return error.problems;
		throw error;
	}
}

export function unknownSetting(key: string): OpsError {
	const near = nearest(key);
	return new OpsError({
		code: "UNKNOWN_SETTING",
		kind: "usage",
		what: `There is no setting ${key}${near ? `; there is ${near}` : ""}.`,
		why: key.startsWith("secret.") ? "Secrets are made and kept by mlgate itself." : "",
		fix: near ? `npx mlgate config set ${near} ${SETTINGS[near].default("local")}` : "npx mlgate config get",
	});
}

function asOpsError(error: unknown): unknown {
	if (!(error instanceof SettingsError)) return error;
	const [first, ...others] = error.problems;
	return new OpsError(
		{
			code: "SETTINGS_INVALID",
			kind: "usage",
			what:
				others.length === 0
					? (first?.what ?? "The settings are not valid.")
					: `${error.problems.length} settings are not valid:\n${error.problems.map(({ what, fix }) => `  ${what} ${fix}`).join("\n")}`,
			fix:
				others.length === 0 ? (first?.fix ?? "") : "Mend each of them as said, then run the command again.",
		},
		{ cause: error },
	);
}

/** Whole or not at all, with the permissions that the file had. */
function replaceFile(path: string, content: string): void {
	const mode = existsSync(path) ? statSync(path).mode & 0o777 : 0o600;
	const fresh = `${path}.${process.pid}.tmp`;
	writeFileSync(fresh, content, { mode });
	renameSync(fresh, path);
}
