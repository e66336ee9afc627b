import { confirmByName } from "../lib/ask.ts";
import { type CommandGroup, defineCommand } from "../lib/command.ts";
import { control, type DoorKey } from "../lib/door.ts";
import { identify } from "../lib/identity.ts";
import { table } from "../lib/text.ts";

const keys = defineCommand({
	name: "keys",
	summary: "sign with a new key; what older keys signed goes on until it expires",
	options: {
		retire: {
			summary: "make no new key, but end the older ones now, with every token and session they signed",
		},
		list: { summary: "only say which keys are believed, and what they have signed" },
	},
	locks: true,
	async run(context, _args, { retire = false, list = false }) {
		const { name } = identify(context);
		if (list) {
			const { keys } = await control(name, "keys/list");
			return { json: { keys }, text: listing(keys) };
		}
		if (!retire) {
			const { keys } = await control(name, "keys/rotate");
			return { json: { keys }, text: `A new key signs from now on.\n${listing(keys)}` };
		}
		const before = (await control(name, "keys/list")).keys;
		const older = before.slice(0, -1);
		// With none the door says so, and nobody is asked.
		if (older.length > 0) {
			const loss = `This ends ${amount(sum(older))} for good, signed by ${number(older.length, "older key")}.`;
			await confirmByName(context, name, loss);
		}
		const { keys, ended } = await control(name, "keys/retire");
		return {
			json: { keys, ended },
			text: `Retired ${number(older.length, "older key")}, which ended ${amount(ended)}.\n${listing(keys)}`,
		};
	},
});

const HEAD = ["KEY", "STATE", "MADE", "BELIEVED UNTIL", "TOKENS", "SESSIONS"];

const listing = (keys: readonly DoorKey[]) =>
	table([
		HEAD,
		...keys.map(({ id, state, created, until, tokens, sessions }) => [
			id,
			state,
			created.slice(0, 16),
			state === "signs" ? "" : (until?.slice(0, 16) ?? "it is retired"),
			String(tokens),
			String(sessions),
		]),
	]);

interface Signed {
	tokens: number;
	sessions: number;
}

const sum = (keys: readonly Signed[]): Signed =>
	keys.reduce((all, key) => ({ tokens: all.tokens + key.tokens, sessions: all.sessions + key.sessions }), {
		tokens: 0,
		sessions: 0,
	});

const number = (count: number, word: string) => `${count} ${word}${count === 1 ? "" : "s"}`;
const amount = ({ tokens, sessions }: Signed) =>
	`${number(tokens, "token")} and ${number(sessions, "session")}`;

export const command: CommandGroup = {
	name: "rotate",
	summary: "the keys that sign tokens and sessions",
	commands: [keys],
};
