/** The control commands of the accounts, as one table. */
import { z } from "zod";
import type { Links, NewLink } from "../accounts/links.ts";
import type { SigningKeys } from "../accounts/rotation.ts";
import type { ServiceToken } from "../accounts/service-token.ts";
import type { Actor } from "../accounts/store.ts";
import type { Tokens } from "../accounts/tokens.ts";
import { OPERATOR, type Users } from "../accounts/users.ts";
import type { Check } from "../authority.ts";
import { ROLES } from "../roles.ts";
import { type Commands, command } from "./server.ts";

/** The shell: whoever may open the socket. */
const SHELL: Actor = { name: OPERATOR, listener: "control", address: "" };

const role = z.enum(ROLES);
const text = z.string().max(2_048);
const nothing = z.strictObject({});
const named = z.strictObject({ name: text });

export interface CommandParts {
	users: Users;
	tokens: Tokens;
	serviceToken: ServiceToken;
	keys: SigningKeys;
	links: Links;
	/** Deep checks of everything behind the door. */
	checks(): Promise<Check[]>;
}

/**
 * | command | body | answer |
 * |---|---|---|
 * | `status` | | `{ok, checks: [{name, ok, ms, detail?}]}` |
 * | `first-admin` | | `{needed, path?, expires?}`: a one-time link, while no admin can sign in |
 * | `users/add` | `{name, role, password?}` | `{user}`, and `path`, `expires` of an invitation without password |
 * | `users/list` | | `{users}` |
 * | `users/role` | `{name, role}` | `{user}` |
 * | `users/disable`, `users/enable` | `{name}` | `{user}` |
 * | `users/reset` | `{name}` | `{user, path, expires}` |
 * | `tokens/create` | `{name, role, user?, expires?}` | `{token, id, name, role, user, expires, ...}`; `token` is the secret text |
 * | `tokens/list` | | `{tokens}` |
 * | `tokens/revoke` | `{id}` | `{token}`: what may be told about it, not its text |
 * | `service-token` | | `{id, expires, renewed}`: the inference API's own, looked after now |
 * | `keys/list` | | `{keys}`: those that are believed, the one that signs last |
 * | `keys/rotate` | | `{keys}`: a new one signs |
 * | `keys/retire` | | `{keys, ended: {tokens, sessions}}`: what older ones signed is over |
 */
export function accountCommands({
	users,
	tokens,
	serviceToken,
	keys,
	links,
	checks,
}: CommandParts): Commands {
	return {
		status: command(nothing, async () => {
			const results = await checks();
			return { ok: results.every((check) => check.ok), checks: results };
		}),
		"first-admin": command(nothing, async () => {
			const link: Partial<NewLink> | undefined = await links.firstAdmin(SHELL);
			return { needed: link !== undefined, ...link };
		}),
		"users/add": command(
			z.strictObject({ name: text, role, password: text.optional() }),
			async ({ name, role, password }) => {
				if (password !== undefined) return { user: await users.add(SHELL, { name, role, password }) };
				const { user, link } = await links.invite(SHELL, { name, role });
				return { user, ...link };
			},
		),
		"users/list": command(nothing, async () => ({ users: users.list() })),
		"users/role": command(z.strictObject({ name: text, role }), async ({ name, role }) => ({
			user: await users.setRole(SHELL, name, role),
		})),
		"users/disable": command(named, async ({ name }) => ({ user: await users.disable(SHELL, name) })),
		"users/enable": command(named, async ({ name }) => ({ user: await users.enable(SHELL, name) })),
		"users/reset": command(named, async ({ name }) => {
			const { user, link } = await links.reset(SHELL, name);
			return { user, ...link };
		}),
		"tokens/create": command(
			z.strictObject({ name: text, role, user: text.optional(), expires: text.optional() }),
			async ({ user = OPERATOR, ...wish }) => {
				const { text, token } = await tokens.create(SHELL, { user, ...wish });
				return { token: text, ...token };
			},
		),
		"tokens/list": command(nothing, async () => ({ tokens: tokens.list() })),
		"tokens/revoke": command(z.strictObject({ id: text }), async ({ id }) => ({
			token: await tokens.revoke(SHELL, id),
		})),
		"service-token": command(nothing, () => serviceToken.ensure(SHELL)),
		"keys/list": command(nothing, async () => ({ keys: keys.list() })),
		"keys/rotate": command(nothing, async () => ({ keys: await keys.rotate(SHELL) })),
		"keys/retire": command(nothing, () => keys.retire(SHELL)),
	};
}
