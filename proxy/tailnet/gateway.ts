/**
 * The container that brings the tailnet to the door. It is known by its name on the network that the two share, and
 * its address changes when it is made anew: whoever comes from another address than the known one makes us look again.
 */
import { lookup as resolve } from "node:dns/promises";
import type { IncomingMessage } from "node:http";
import type { Log } from "../log.ts";
import { type Caller, callerOf } from "./caller.ts";

/** Milliseconds between two looks that strangers make us take. */
const LOOK_EVERY = 1_000;
/** An address that was right so long ago may be somebody else's by now. */
const KNOWN_FOR = 10_000;

export interface GatewayOptions {
	/** Its name on the network. */
	host: string;
	log: Pick<Log, "warn">;
	/** @returns all addresses behind a name */
	lookup?(host: string): Promise<string[]>;
	/** In ms. */
	now?(): number;
}

const lookupAll = async (host: string): Promise<string[]> =>
	(await resolve(host, { all: true })).map(({ address }) => address);

export class Gateway {
	readonly #host: string;
	readonly #log: Pick<Log, "warn">;
	readonly #lookup: (host: string) => Promise<string[]>;
	readonly #now: () => number;
	#addresses: ReadonlySet<string> = new Set();
	#lookedAt = Number.NEGATIVE_INFINITY;
	#looking: Promise<void> | undefined;

	constructor({ host, log, lookup = lookupAll, now = () => performance.now() }: GatewayOptions) {
		this.#host = host;
		this.#log = log;
		this.#lookup = lookup;
		this.#now = now;
	}

	/** @returns undefined for a request that does not come from the gateway */
	async caller({ headers, socket }: IncomingMessage): Promise<Caller | undefined> {
		const peer = socket.remoteAddress ?? "";
		return (await this.#isGateway(peer)) ? callerOf(headers, peer) : undefined;
	}

	async #isGateway(peer: string): Promise<boolean> {
		const age = this.#now() - this.#lookedAt;
		if (age > (this.#addresses.has(peer) ? KNOWN_FOR : LOOK_EVERY)) {
			this.#looking ??= this.#look().finally(() => {
				this.#looking = undefined;
			});
			await this.#looking;
		}
		return this.#addresses.has(peer);
	}

	async #look(): Promise<void> {
		try {
			this.#addresses = new Set(await this.#lookup(this.#host));
		} catch (error) {
			// A container that is gone has no name: nobody is the gateway then.
			this.#addresses = new Set();
			this.#log.warn({ err: error, host: this.#host }, "the tailnet's gateway is not to be found");
		}
		this.#lookedAt = this.#now();
	}
}
