/**
 * How many passwords may be tried. Tries count by user and place together, so a stranger cannot lock anybody
 * out from elsewhere, and by address, so one stranger cannot walk through the users. A limit is a wait, never
 * a lock, and who is signed in does not notice it.
 *
 * On `edge` every client has the bridge's address. Counting by it would let one client there lock out all the
 * others; so there tries count by user alone, with a short wait. A browser that has signed in before brings
 * its device mark and is a place of its own everywhere, so its owner gets in while somebody else is guessing
 * (OWASP: "device cookies").
 */
import { isIPv4, isIPv6 } from "node:net";
import { RateLimiterMemory, RateLimiterRes } from "rate-limiter-flexible";
import type { Listener } from "../../infra/contract.ts";

/** Wrong passwords (`points`) within so many seconds (`duration`); the wait lasts until those are over. */
export interface Limit {
	points: number;
	duration: number;
}

export interface Limits {
	/** One user from one address or one known device. */
	pair: Limit;
	/** All users from one address (IPv6: one /64). */
	address: Limit;
	/** One user from all the clients that cannot be told apart. */
	shared: Limit;
}

export const LIMITS: Limits = {
	pair: { points: 10, duration: 900 },
	address: { points: 60, duration: 900 },
	shared: { points: 10, duration: 60 },
};

/** Where a try comes from. */
export interface Place {
	listener: Listener;
	address: string;
	/** The device mark of a browser in which this user has signed in before. */
	device?: string;
}

/** Listeners on which all clients share one address. */
const SHARED: ReadonlySet<Listener> = new Set(["edge"]);

/** A try that was let through; say how it ended. */
export interface Try {
	/** The password was right, or was not looked at. */
	giveBack(succeeded: boolean): Promise<void>;
}

export class SignInLimits {
	readonly #limiters: Record<keyof Limits, RateLimiterMemory>;

	constructor(limits: Limits) {
		const limiter = (name: keyof Limits) => new RateLimiterMemory({ keyPrefix: name, ...limits[name] });
		this.#limiters = { pair: limiter("pair"), address: limiter("address"), shared: limiter("shared") };
	}

	/** Users, addresses and devices that are kept in memory. */
	get size(): number {
		return Object.values(this.#limiters).reduce((sum, limiter) => sum + limiter.dump().storage.length, 0);
	}

	/** Seconds to wait before another try; 0 if none. Counts nothing. */
	async wait(user: string, place: Place): Promise<number> {
		const waits = keys(user, place).map(async ([name, key]) => {
			const limiter = this.#limiters[name];
			const state = await limiter.get(key);
			return state && state.consumedPoints >= limiter.points ? seconds(state) : 0;
		});
		return Math.max(...(await Promise.all(waits)));
	}

	/** Counts a try before it is made, so that a thousand at once are not a thousand first ones. */
	async begin(user: string, place: Place): Promise<Try | { wait: number }> {
		const taken: [keyof Limits, string][] = [];
		for (const [name, key] of keys(user, place)) {
			try {
				await this.#limiters[name].consume(key);
				taken.push([name, key]);
			} catch (refusal) {
				if (!(refusal instanceof RateLimiterRes)) throw refusal;
				await this.#giveBack(taken);
				return { wait: seconds(refusal) };
			}
		}
		return {
			giveBack: async (succeeded) => {
				await this.#giveBack(taken);
				// Whoever knows the password is no guesser: earlier slips are forgotten, but not the address's.
				if (succeeded) {
					for (const [name, key] of taken) if (name !== "address") await this.#limiters[name].delete(key);
				}
			},
		};
	}

	async #giveBack(taken: [keyof Limits, string][]): Promise<void> {
		for (const [name, key] of taken) await this.#limiters[name].reward(key);
	}
}

const seconds = (state: RateLimiterRes): number => Math.max(1, Math.ceil(state.msBeforeNext / 1000));

function keys(user: string, { listener, address, device }: Place): [keyof Limits, string][] {
	if (device !== undefined) return [["pair", `device ${device} ${user}`]];
	if (SHARED.has(listener)) return [["shared", user]];
	const network = networkOf(address);
	// The address first: one that has had its tries must not go on filling memory with pairs of made-up names.
	return [
		["address", `${listener} ${network}`],
		["pair", `${listener} ${network} ${user}`],
	];
}

/** The address itself, or the /64 of an IPv6 address: one customer usually has all of it. */
export function networkOf(address: string): string {
	const bare = address.split("%")[0] ?? "";
	const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(bare)?.[1];
	if (mapped && isIPv4(mapped)) return mapped;
	if (!isIPv6(bare)) return bare;
	const [head = "", tail] = bare.split("::");
	const left = head === "" ? [] : head.split(":");
	const right = tail === undefined || tail === "" ? [] : tail.split(":");
	const middle = Array.from({ length: Math.max(0, 8 - left.length - right.length) }, () => "0");
	const groups = [...left, ...middle, ...right].slice(0, 4);
	return `${groups.map((group) => Number.parseInt(group, 16).toString(16)).join(":")}::/64`;
}
