import { effectInWords, SETTINGS } from "../../infra/settings.ts";
import { type CommandGroup, type Context, defineCommand } from "../lib/command.ts";
import { containersOf, volumesOf } from "../lib/docker.ts";
import { OpsError } from "../lib/errors.ts";
import { identify } from "../lib/identity.ts";
import { readConfig, unknownSetting, writeSetting } from "../lib/stack/config-file.ts";
import { table } from "../lib/text.ts";

const key = { summary: "the setting, as `config list` shows it" } as const;

const get = defineCommand({
	name: "get",
	summary: "one setting's value in force",
	arguments: { key },
	locks: false,
	async run(context, { key }) {
		const entry = readConfig(context).find((one) => one.key === key);
		if (!entry) throw unknownSetting(key);
		return { json: entry, text: String(entry.value) };
	},
});

const set = defineCommand({
	name: "set",
	summary: "change a setting; it acts at the next `up`",
	arguments: { key, value: { summary: "the new value" } },
	locks: true,
	async run(context, { key, value }) {
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

const listAll = defineCommand({
	name: "list",
	summary: "all settings with their values in force",
	locks: false,
	async run(context) {
		const entries = readConfig(context);
		const rows = entries.map(({ key, value, isDefault }) => [
			key,
			[value, SETTINGS[key].unit].filter(Boolean).join(" "),
			isDefault ? "default" : "set",
			SETTINGS[key].meaning,
		]);
		return { json: { settings: entries }, text: table([["SETTING", "VALUE", "", "MEANING"], ...rows]) };
	},
});

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
