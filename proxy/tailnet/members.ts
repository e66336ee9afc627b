/** Which members of the tailnet the door knows, and with which role. Whoever is not named is a stranger. */
import type { Role } from "../roles.ts";
import type { GrantedRole } from "./grant.ts";

export interface Membership {
	role: Role;
	/** The tailnet's policy grants it; else the settings give it. */
	byGrant: boolean;
}

export class Members {
	readonly #roles: ReadonlyMap<string, Role>;

	/** @param roles by login (`ada@example.org`) or the domain of logins (`@example.org`), in lower case */
	constructor(roles: Readonly<Record<string, Role>>) {
		this.#roles = new Map(Object.entries(roles));
	}

	/** A login's own row goes before a grant, and that before the row of the login's domain. */
	roleOf(login: string, granted?: GrantedRole): Membership | undefined {
		const own = this.#roles.get(login);
		if (own === undefined && granted !== undefined) return { role: granted, byGrant: true };
		const role = own ?? this.#roles.get(login.slice(login.lastIndexOf("@")));
		return role && { role, byGrant: false };
	}
}
