import { passwordFromStdin } from "../lib/ask.ts";
import { type Answer, type Command, type CommandGroup, type Context, defineCommand } from "../lib/command.ts";
import { control, type DoorUser, type OneTimeLink, ROLES } from "../lib/door.ts";
import { identify } from "../lib/identity.ts";
import { ago, table } from "../lib/text.ts";

const nameOf = ({ checkout, stack }: Context) => identify({ checkout, stack }).name;
const user = { name: { summary: "the user's name" } } as const;
const role = { summary: "what the user may do", value: "role", choices: ROLES } as const;

/** The purpose of these commands is the link: it is printed, once. */
function linkAnswer({ checkout, stack }: Context, user: DoorUser, { path, expires }: OneTimeLink): Answer {
	const link = `${identify({ checkout, stack }).url}${path}`;
	return {
		json: { user, link, expires },
		text: `${link}\nWorks once, until ${expires}. Whoever has the link has the account of ${user.name}.`,
	};
}

const add = defineCommand({
	name: "add",
	summary: "a new user; prints a one-time link unless a password is piped in",
	arguments: user,
	options: {
		role: { ...role, required: true },
		passwordStdin: { summary: "the password is the first line of standard input" },
	},
	locks: false,
	async run(context, { name }, { role, passwordStdin }) {
		const password = passwordStdin ? { password: await passwordFromStdin() } : {};
		const { user, path, expires } = await control(nameOf(context), "users/add", { name, role, ...password });
		if (!path || !expires) return { json: { user }, text: `${user.name} can sign in as ${user.role}.` };
		return linkAnswer(context, user, { path, expires });
	},
});

const listUsers = defineCommand({
	name: "list",
	summary: "all users",
	locks: false,
	async run(context) {
		const { users } = await control(nameOf(context), "users/list");
		const rows = users.map(({ name, role, state, lastSeen }) => [name, role, state, ago(lastSeen)]);
		return { json: { users }, text: table([["NAME", "ROLE", "STATE", "LAST SEEN"], ...rows]) };
	},
});

const setRole = defineCommand({
	name: "role",
	summary: "change what a user may do, from the next request on",
	arguments: { ...user, role: { summary: "the new role", choices: ROLES } },
	locks: false,
	async run(context, { name, role }) {
		const { user } = await control(nameOf(context), "users/role", { name, role });
		return { json: { user }, text: `${user.name} is ${user.role} now.` };
	},
});

const disable = defineCommand({
	name: "disable",
	summary: "end a user's sessions and tokens and let nobody in under that name",
	arguments: user,
	locks: false,
	async run(context, { name }) {
		const { user } = await control(nameOf(context), "users/disable", { name });
		return {
			json: { user },
			text: `${user.name} is disabled. Back again: npx mlgate users enable ${user.name}`,
		};
	},
});

const enable = defineCommand({
	name: "enable",
	summary: "let a disabled user in again",
	arguments: user,
	locks: false,
	async run(context, { name }) {
		const { user } = await control(nameOf(context), "users/enable", { name });
		return { json: { user }, text: `${user.name} may sign in again, as ${user.role}.` };
	},
});

const reset = defineCommand({
	name: "reset",
	summary: "print a one-time link with which a user sets a new password",
	arguments: user,
	locks: false,
	async run(context, { name }) {
		const { user, ...link } = await control(nameOf(context), "users/reset", { name });
		return linkAnswer(context, user, link);
	},
});

export const command: CommandGroup = {
	name: "users",
	summary: "who may sign in",
	commands: [add, listUsers, setRole, disable, enable, reset] satisfies Command[],
};
