/**
 * Parts behind the door that are away, or are about to go, and the requests that wait for them.
 *
 * A part is held because ops said so (`announced`), or because it was found to be away (`unannounced`). An unannounced
 * hold ends when the part answers again. An announced one ends when ops say so; should ops have died, it ends by itself:
 * past the limit, once the part answers after it was seen away, and in any case after `LONGEST`.
 */
import { setTimeout as sleep } from "node:timers/promises";
import type { Log } from "../log.ts";
import type { AwaitedPart } from "./parts.ts";
import type { Patience } from "./patience.ts";

/** Requests that may wait at one time, for all parts together. Each keeps at most 64 KiB of a body that nobody reads. */
const MOST = 1000;
/** Bytes of bodies that had been read before their request had to wait, all together. */
const MOST_KEPT = 64 * 1024 * 1024;
/** Milliseconds. */
const LONGEST = 300_000;
/** Between two looks at a part. */
const LOOK = { away: 200, announced: 1_000 } as const;

export type HoldReason = "announced" | "unannounced";

/** Whether a part answers. Never rejects, and takes a few seconds at most. */
export type Probe = () => Promise<boolean>;

export interface HoldsOptions {
	/** How long a request is held at most, in milliseconds. */
	limit: number;
	/** A part without one counts as there as soon as somebody asks. */
	probes: Partial<Record<AwaitedPart, Probe>>;
	log: Log;
	/** Told of each wait that has ended, in seconds. */
	told?: (part: AwaitedPart, outcome: Waited, seconds: number) => void;
	/** For tests. */
	most?: number;
	longest?: number;
}

/** What `hold` tells. */
export interface Drained {
	part: AwaitedPart;
	/** Whether everything that needs the part has finished. */
	drained: boolean;
	/** What has not. */
	running: number;
	waitedMs: number;
}

/** What `release` tells. */
export interface Released {
	part: AwaitedPart;
	/** Whether the part answers. If not, requests are still held for it, until it does. */
	healthy: boolean;
	/** How long the hold lasted. */
	heldMs: number;
	/** Requests that waited, the longest wait of one, and those that were refused at the end of it or for lack of room. */
	held: number;
	longestMs: number;
	refused: number;
}

export interface HoldTold {
	part: AwaitedPart;
	/** ISO time. */
	since: string;
	waiting: number;
	reason: HoldReason;
}

/** `full`: too many wait already. `late`: the limit is reached. `gone`: the client has left. */
export type Waited = "there" | "full" | "late" | "gone";

class Hold {
	readonly since = new Date();
	readonly started = performance.now();
	reason: HoldReason;
	/** When each began that waits, in ms of `performance.now()`. */
	readonly waits = new Set<{ since: number }>();
	held = 0;
	/** Of those that wait no more. */
	longestEnded = 0;
	refused = 0;
	seenAway = false;
	readonly over: Promise<void>;
	readonly end: () => void;

	constructor(reason: HoldReason) {
		this.reason = reason;
		const { promise, resolve } = Promise.withResolvers<void>();
		this.over = promise;
		this.end = resolve;
	}

	get waiting(): number {
		return this.waits.size;
	}

	/** Milliseconds. */
	get longest(): number {
		const now = performance.now();
		return Math.max(this.longestEnded, ...[...this.waits].map(({ since }) => now - since));
	}

	get age(): number {
		return performance.now() - this.started;
	}
}

export class Holds {
	/** How long a request is held at most, in milliseconds. */
	readonly limit: number;
	readonly #probes: HoldsOptions["probes"];
	readonly #log: Log;
	readonly #told: NonNullable<HoldsOptions["told"]>;
	readonly #most: number;
	readonly #longest: number;
	readonly #holds = new Map<AwaitedPart, Hold>();
	readonly #running = new Map<AwaitedPart, number>();
	#waiting = 0;
	#kept = 0;
	#closed = false;

	constructor({ limit, probes, log, told = () => {}, most = MOST, longest = LONGEST }: HoldsOptions) {
		this.limit = limit;
		this.#probes = probes;
		this.#log = log;
		this.#told = told;
		this.#most = most;
		this.#longest = longest;
	}

	isHeld(part: AwaitedPart): boolean {
		return this.#holds.has(part);
	}

	/** A request that needs these parts has been let through. @returns says that it has ended */
	run(parts: readonly AwaitedPart[]): () => void {
		const add = (by: number) => {
			for (const part of parts) this.#running.set(part, (this.#running.get(part) ?? 0) + by);
		};
		add(1);
		return () => add(-1);
	}

	/**
	 * Returns at once if none of the parts is held, else when none is any more.
	 * @param kept bytes of its body that wait along
	 */
	async wait(parts: readonly AwaitedPart[], patience: Patience, kept = 0): Promise<Waited> {
		for (;;) {
			if (patience.gone) return "gone";
			if (this.#closed) return "late";
			const part = parts.find((one) => this.#holds.has(one));
			const hold = part && this.#holds.get(part);
			if (part === undefined || hold === undefined) return "there";
			const started = performance.now();
			const outcome = await this.#waitFor(hold, patience, kept);
			this.#told(part, outcome, (performance.now() - started) / 1000);
			if (outcome !== "there") return outcome;
		}
	}

	async #waitFor(hold: Hold, patience: Patience, kept: number): Promise<Waited> {
		if (this.#waiting >= this.#most || this.#kept + kept > MOST_KEPT) {
			hold.refused++;
			return "full";
		}
		if (patience.left <= 0) {
			hold.refused++;
			return "late";
		}
		const started = performance.now();
		const ended = new AbortController();
		const leave = () => ended.abort();
		patience.signal.addEventListener("abort", leave, { once: true });
		const wait = { since: started };
		hold.waits.add(wait);
		hold.held++;
		this.#waiting++;
		this.#kept += kept;
		const late = sleep(patience.left, "late" as const, { signal: ended.signal, ref: false });
		const outcome = await Promise.race([hold.over.then(() => "there" as const), late]).catch(
			() => "gone" as const,
		);
		ended.abort();
		late.catch(() => {});
		patience.signal.removeEventListener("abort", leave);
		this.#waiting--;
		this.#kept -= kept;
		hold.waits.delete(wait);
		const took = performance.now() - started;
		patience.left -= took;
		hold.longestEnded = Math.max(hold.longestEnded, took);
		if (outcome === "late") hold.refused++;
		return outcome;
	}

	/** A part was found to be away. */
	away(part: AwaitedPart, why: unknown): void {
		const hold = this.#holds.get(part);
		if (hold !== undefined) hold.seenAway = true;
		else if (!this.#closed) {
			this.#log.warn({ part, why: String(why) }, "a part is away; requests for it wait");
			this.#begin(part, "unannounced");
		}
	}

	/**
	 * Holds what comes from now on, and lets what is running finish.
	 * @param drain how long that may take, in milliseconds
	 */
	async hold(part: AwaitedPart, drain: number): Promise<Drained> {
		const started = performance.now();
		const known = this.#holds.get(part);
		if (known === undefined) this.#begin(part, "announced");
		else known.reason = "announced";
		this.#log.info({ part }, "held");
		const running = () => this.#running.get(part) ?? 0;
		while (running() > 0 && performance.now() - started < drain) await sleep(20, undefined, { ref: false });
		const waitedMs = Math.round(performance.now() - started);
		return { part, drained: running() === 0, running: running(), waitedMs };
	}

	/** Ends a hold as soon as the part answers, for which it waits as long as a request would. */
	async release(part: AwaitedPart): Promise<Released> {
		const deadline = performance.now() + this.limit;
		let healthy = await this.#answers(part);
		while (!healthy && performance.now() < deadline) {
			await sleep(LOOK.away, undefined, { ref: false });
			healthy = await this.#answers(part);
		}
		const hold = this.#holds.get(part);
		if (hold !== undefined && healthy) this.#end(part, hold);
		// Ops have said that they are through with it: from here on it is a part that is away.
		else if (hold !== undefined) hold.reason = "unannounced";
		return {
			part,
			healthy,
			heldMs: Math.round(hold?.age ?? 0),
			held: hold?.held ?? 0,
			longestMs: Math.round(hold?.longest ?? 0),
			refused: hold?.refused ?? 0,
		};
	}

	list(): HoldTold[] {
		return [...this.#holds].map(([part, hold]) => ({
			part,
			since: hold.since.toISOString(),
			waiting: hold.waiting,
			reason: hold.reason,
		}));
	}

	/** Refuses everybody who waits: whoever asks again finds the next door. */
	close(): void {
		this.#closed = true;
		for (const [part, hold] of this.#holds) this.#end(part, hold);
	}

	#begin(part: AwaitedPart, reason: HoldReason): void {
		const hold = new Hold(reason);
		hold.seenAway = reason === "unannounced";
		this.#holds.set(part, hold);
		void this.#watch(part, hold);
	}

	#end(part: AwaitedPart, hold: Hold): void {
		if (this.#holds.get(part) !== hold) return;
		this.#holds.delete(part);
		hold.end();
		const { held, refused, longest, age, reason } = hold;
		this.#log.info(
			{ part, reason, held, refused, longestMs: Math.round(longest), heldMs: Math.round(age) },
			"a hold has ended",
		);
	}

	/** Looks at a held part until the hold is over, and ends it where ops do not. */
	async #watch(part: AwaitedPart, hold: Hold): Promise<void> {
		while (this.#holds.get(part) === hold) {
			await sleep(LOOK[hold.reason === "announced" ? "announced" : "away"], undefined, { ref: false });
			if (this.#holds.get(part) !== hold) return;
			const healthy = await this.#answers(part);
			if (!healthy) hold.seenAway = true;
			const left = hold.age > this.limit && healthy && hold.seenAway;
			if (hold.reason === "unannounced" ? healthy : left || hold.age > this.#longest) this.#end(part, hold);
		}
	}

	async #answers(part: AwaitedPart): Promise<boolean> {
		try {
			return (await this.#probes[part]?.()) ?? true;
		} catch {
			return false;
		}
	}
}
