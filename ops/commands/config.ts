import { text } from "node:stream/consumers";
import {
	effectInWords,
	isSecretSetting,
	SETTINGS,
	type Setting,
	type SettingKey,
	type SettingValue,
} from "../../infra/settings.ts";
import { type Answer, type CommandGroup, type Context, defineCommand } from "../lib/command.ts";
import { containersOf, volumesOf } from "../lib/docker.ts";
import { OpsError } from "../lib/errors.ts";
import { identify } from "../lib/identity.ts";
import { ENCRYPTED, readConfig, unknownSetting, writeSetting } from "../lib/stack/config-file.ts";
import { table } from "../lib/text.ts";
import { openWorkspace, prepareEngine } from "../lib/workspace.ts";

const key = { summary: "the setting, as `config list` shows it" } as const;

const get = defineCommand({
	name: "get",
	summary: "one setting's value in force",
	arguments: { key },
	locks: false,
	async run(context, { key }) {
		const entry = readConfig(context).find((one) => one.key === key);
		if (!entry) throw unknownSetting(key);
		return { json: entry, text: inWords(entry.value) };
	},
});

const set = defineCommand({
	name: "set",
	summary: "change a setting; it acts at the next `up`",
	arguments: {
		key,
		value: { summary: "the new value; of a secret it is read from standard input", optional: true },
	},
	locks: true,
	async run(context, { key, value }) {
		context.about(key);
		if (isSecretSetting(key)) return setSecret(context, key as SettingKey, value);
		if (value === undefined) throw noValue(key);
		if (key === "name") await refuseNewName(context, value);
		// Others may still be wrong: two bad settings are mended one after the other.
		const setting = writeSetting(context, key, value);
		const effect = effectInWords(SETTINGS[setting].restarts);
		return {
			json: { key, value: SETTINGS[setting].schema.parse(value), effect },
			text: `${key} is ${value} now. A change ${effect}. Apply it: npm start`,
		};
	},
});

/** Never by argument: those can be read by everybody on the host, and shells keep them. */
async function setSecret(context: Context, key: SettingKey, argument: string | undefined): Promise<Answer> {
	if (argument !== undefined || process.stdin.isTTY) throw secretByArgument(key);
	const given = (await text(process.stdin)).trim();
	const setting: Setting = SETTINGS[key];
	// What was given is not shown.
	if (!setting.schema.safeParse(given).success) throw badSecret(key, setting.expects);
	await prepareEngine(context);
	const stack = await openWorkspace(context);
	await stack.setSecret(key, given);
	const effect = effectInWords(setting.restarts);
	return {
		json: { key, value: ENCRYPTED, effect },
		text: `${key} is set, encrypted. A change ${effect}. Apply it: npm start`,
	};
}

const secretByArgument = (key: string): OpsError =>
	new OpsError({
		code: "SECRET_BY_ARGUMENT",
		kind: "usage",
		what: `${key} is a secret and is read from standard input, which is to be a pipe or a file.`,
		why: "Arguments can be read by everybody on the host, and shells keep them.",
		fix: `npx mlgate config set ${key} < <file>`,
	});

const badSecret = (key: string, expects: string): OpsError =>
	new OpsError({
		code: "SETTINGS_INVALID",
		kind: "usage",
		what: `What standard input held for ${key} is not ${expects}.`,
		fix: `Mend it and try again: npx mlgate config set ${key} < <file>`,
	});

const noValue = (key: string): OpsError =>
	new OpsError({
		code: "USAGE",
		kind: "usage",
		what: `Which value shall ${key} have?`,
		fix: `npx mlgate config set ${key} <value>`,
	});

const listAll = defineCommand({
	name: "list",
	summary: "all settings with their values in force",
	locks: false,
	async run(context) {
		const entries = readConfig(context);
		const rows = entries.map(({ key, value, isDefault }) => [
			key,
			[inWords(value), SETTINGS[key].unit].filter(Boolean).join(" "),
			isDefault ? "default" : "set",
			SETTINGS[key].meaning,
		]);
		return { json: { settings: entries }, text: table([["SETTING", "VALUE", "", "MEANING"], ...rows]) };
	},
});

const inWords = (value: SettingValue): string =>
	typeof value === "object" ? JSON.stringify(value) : String(value);

export const command: CommandGroup = {
	name: "config",
	summary: "the stack's settings",
	commands: [get, set, listAll],
};

/** Under another name the stack would begin anew, with empty volumes beside the full ones. */
async function refuseNewName(context: Context, value: string): Promise<void> {
	const { name } = identify(context);
	if (value === name) return;
	const [containers, volumes] = await Promise.all([containersOf(name), volumesOf(name)]);
	if (containers.length + volumes.length === 0) return;
	throw new OpsError({
		code: "NAME_IN_USE",
		kind: "dataRisk",
		what: `The stack ${context.stack} exists as ${name} and cannot be renamed.`,
		why: `Its data volumes carry that name; as ${value} it would begin anew with empty ones.`,
		fix: `Bring up a second stack beside it: npx mlgate up --stack <other>`,
	});
}
