import { type CommandGroup, type Context, defineCommand } from "../lib/command.ts";
import { control, ROLES } from "../lib/door.ts";
import { identify } from "../lib/identity.ts";
import { ago, table } from "../lib/text.ts";

const nameOf = ({ checkout, stack }: Context) => identify({ checkout, stack }).name;

const create = defineCommand({
	name: "create",
	summary: "a new API token, alone on stdout: TOKEN=$(npx mlgate tokens create --name ci --role editor)",
	options: {
		name: { value: "name", summary: "where it will be used", required: true },
		role: { value: "role", summary: "what it may do", choices: ROLES, required: true },
		user: { value: "name", summary: "whose it is (default: the built-in operator)" },
		expires: { value: "when", summary: "12h, 90d, 52w, an ISO time, or never (default: 90d)" },
	},
	locks: false,
	async run(context, _args, { name, role, user, expires }) {
		const wish = { name, role, ...(user ? { user } : {}), ...(expires ? { expires } : {}) };
		const { token, ...about } = await control(nameOf(context), "tokens/create", wish);
		if (process.stdout.isTTY && !context.json) {
			const { url } = identify(context);
			const until = about.expires ? `until ${about.expires}` : "for ever";
			// Not by the report: that goes to the log as well.
			process.stderr.write(
				`Shown once, good ${until}. For MLflow's clients:\n\nexport MLFLOW_TRACKING_URI=${url}\nexport MLFLOW_TRACKING_TOKEN=${token}\n\n`,
			);
		}
		return { json: { token, ...about }, text: token };
	},
});

const listTokens = defineCommand({
	name: "list",
	summary: "all API tokens, without their secrets",
	locks: false,
	async run(context) {
		const { tokens } = await control(nameOf(context), "tokens/list");
		const rows = tokens.map(({ id, name, role, scope, user, state, expires, lastUsed }) => [
			id,
			name,
			scope === "all" ? role : `${role}, ${scope} only`,
			user,
			state,
			expires?.slice(0, 10) ?? "never",
			ago(lastUsed),
		]);
		const head = ["ID", "NAME", "ROLE", "OWNER", "STATE", "EXPIRES", "LAST USED"];
		return { json: { tokens }, text: table([head, ...rows]) };
	},
});

const revoke = defineCommand({
	name: "revoke",
	summary: "end a token at once, running transfers included",
	arguments: { id: { summary: "as `tokens list` shows it" } },
	locks: false,
	async run(context, { id }) {
		const { token } = await control(nameOf(context), "tokens/revoke", { id });
		return { json: { token }, text: `Token ${token.name} (${token.id}) is revoked.` };
	},
});

export const command: CommandGroup = {
	name: "tokens",
	summary: "API tokens for clients and scripts",
	commands: [create, listTokens, revoke],
};
