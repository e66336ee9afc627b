/**
 * The door listens once on each network, on that network's own address, and each listener has its own trust.
 * An alias that does not lead to an address of ours ends the start: listening anywhere else would mix them up.
 */
import { lookup } from "node:dns/promises";
import { networkInterfaces } from "node:os";
import type { Listener } from "../infra/contract.ts";
import type { ListenerSettings } from "./settings.ts";

/** What requests of a listener mean. */
export interface Trust {
	/** What the client speaks. Decides the origin that writes must come from, and whether cookies are Secure. */
	scheme: "http" | "https";
	/**
	 * Identity and forwarded headers are believed, from the tailnet's gateway, which alone may come here. Without a
	 * gateway in the settings they are believed nowhere.
	 */
	tailnet: boolean;
}

/** Whether a Host header, in lower case, names us. */
export interface Hosts {
	has(host: string): boolean;
}

export const TRUST: Readonly<Record<Listener, Trust>> = {
	edge: { scheme: "http", tailnet: false },
	clients: { scheme: "http", tailnet: false },
	serve: { scheme: "http", tailnet: false },
	/** Tailscale stands in front and ends TLS. */
	ident: { scheme: "https", tailnet: true },
};

export interface BoundListener {
	name: Listener;
	/** An address of one of our own interfaces. */
	address: string;
	port: number;
	/** Accepted Host headers. */
	hosts: Hosts;
	trust: Trust;
}

export class ListenerError extends Error {
	override readonly name = "ListenerError";
}

const ownAddresses = (): Set<string> =>
	new Set(
		Object.values(networkInterfaces())
			.flat()
			.map((found) => found?.address ?? ""),
	);

/**
 * The address of ours that a name stands for.
 * @throws {ListenerError} when the name is unknown, or leads to somebody else
 */
export async function ownAddress(name: string): Promise<string> {
	let found: string[];
	try {
		found = (await lookup(name, { all: true })).map(({ address }) => address);
	} catch (cause) {
		throw new ListenerError(`Nothing is known by the name ${name}: is the door on that network?`, { cause });
	}
	const own = ownAddresses();
	const strangers = found.filter((address) => !own.has(address));
	const [address] = found;
	if (address === undefined || strangers.length > 0) {
		throw new ListenerError(
			`${name} is ${found.join(", ")}, and ${strangers.join(", ")} is no address of this machine: another container has that name.`,
		);
	}
	return address;
}

/**
 * @param publicName what the public calls us, where there is a gateway: the one name that it may come for. It may
 * change at any time; null: not known yet
 * @throws {ListenerError}
 */
export async function resolveListeners(
	settings: readonly ListenerSettings[],
	publicName?: () => string | null,
): Promise<BoundListener[]> {
	return await Promise.all(
		settings.map(async ({ name, bind, port, hosts }) => ({
			name,
			address: await ownAddress(bind),
			port,
			hosts: TRUST[name].tailnet && publicName ? { has: (host) => host === publicName() } : new Set(hosts),
			trust: TRUST[name],
		})),
	);
}
