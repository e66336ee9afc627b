/**
 * The name under which the public reaches the door. Nobody knows it before the gateway has joined its tailnet, and it
 * changes with the node's name there: it is told over the control socket, and kept for the next start.
 */
import { readFileSync, renameSync, writeFileSync } from "node:fs";
import { z } from "zod";
import { type Commands, command } from "../control/server.ts";

/** A Host header, `name:port`. */
const HOST = /^[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:\d{1,5})?$/;

export class PublicName {
	readonly #file: string;
	#host: string | null;

	/** @param file where it is kept */
	constructor(file: string) {
		this.#file = file;
		this.#host = read(file);
	}

	/** As in the Host header of requests; null: there is none. */
	get host(): string | null {
		return this.#host;
	}

	/** @throws the file's error; the name is in force then, and forgotten at the next start */
	set(host: string | null): void {
		this.#host = host;
		const fresh = `${this.#file}.new`;
		writeFileSync(fresh, host ?? "", { mode: 0o600 });
		renameSync(fresh, this.#file);
	}

	/** | `funnel/name` | `{host?}` | `{host, before}`: the Host of public requests from now on; null: none | */
	commands(): Commands {
		return {
			"funnel/name": command(
				z.strictObject({ host: z.string().max(300).regex(HOST).nullable().optional() }),
				async ({ host }) => {
					const before = this.#host;
					if (host !== undefined && host !== before) this.set(host);
					return { host: this.#host, before };
				},
			),
		};
	}
}

function read(file: string): string | null {
	try {
		const text = readFileSync(file, "utf8");
		return HOST.test(text) ? text : null;
	} catch {
		return null;
	}
}
