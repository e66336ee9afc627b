/**
 * A role that the tailnet's policy grants with an app capability. Tailscale tells it with each request of a member, of
 * the capability that the node asks for (`AcceptAppCaps`), and lets no client set the header.
 */
import { ROLE_CAPABILITY } from "../../infra/contract.ts";
import type { Role } from "../roles.ts";

/** An admin is a person whom the stack's own settings name: a grant is written by whoever may edit the policy. */
export type GrantedRole = Exclude<Role, "admin">;

/** Grants add up, so the highest counts. */
const GRANTED: readonly GrantedRole[] = ["editor", "viewer"];

/**
 * @param header `{"<capability>": [{"role": "editor"}, ...]}`, one value a grant; Tailscale encodes what is not ASCII,
 * and no role is such
 * @returns undefined: none that we know
 */
export function grantedRole(header: string | undefined): GrantedRole | undefined {
	const values = header === undefined ? undefined : parsed(header)?.[ROLE_CAPABILITY];
	if (!Array.isArray(values)) return undefined;
	const roles: unknown[] = values.map((value) => value?.role);
	return GRANTED.find((role) => roles.includes(role));
}

function parsed(text: string): Record<string, unknown> | null {
	try {
		return JSON.parse(text);
	} catch {
		return null;
	}
}
