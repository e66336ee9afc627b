/** Which members of the tailnet the door knows, and with which role. Whoever is not named is a stranger. */
import type { Role } from "../roles.ts";

export class Members {
	readonly #roles: ReadonlyMap<string, Role>;

	/** @param roles by login (`ada@example.org`) or the domain of logins (`@example.org`), in lower case */
	constructor(roles: Readonly<Record<string, Role>>) {
		this.#roles = new Map(Object.entries(roles));
	}

	/** A login's own row goes before that of its domain. */
	roleOf(login: string): Role | undefined {
		return this.#roles.get(login) ?? this.#roles.get(login.slice(login.lastIndexOf("@")));
	}
}
