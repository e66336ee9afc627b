/**
 * How much one credential may ask of the door: requests in a time (a token bucket) and requests at once. The
 * bounds are far above what people and trainers do; they keep one script that runs wild, or one stolen token,
 * from taking everybody's tracking server. Strangers have no credential: see `connections.ts` and `limits.ts`.
 */
import type { Identity } from "./authority.ts";

export interface Rates {
	/** Requests a second that go on for ever, and requests that may come at once on top. */
	perSecond: number;
	burst: number;
	/** Requests that are being answered. MLflow has a few dozen threads. */
	atOnce: number;
}

export const RATES: Rates = { perSecond: 250, burst: 5_000, atOnce: 200 };

/**
 * Seconds. MLflow's client tries five times, and sleeps this long before each: below 15 it would give up sooner
 * than without the header. Spread, so that those who were sent away together do not come back together.
 */
const RETRY_AFTER = { from: 15, to: 20 } as const;

/** Buckets of credentials that did nothing for long are full, and forgotten. */
const SWEEP_AT = 1_000;

interface Bucket {
	left: number;
	/** When `left` was true, in ms. */
	at: number;
	running: number;
}

/** What one request counts for. */
export interface Weight {
	/** Of MLflow, whether each comes by itself or one asks for them all. */
	requests: number;
	atOnce: number;
}

const ONE: Weight = { requests: 1, atOnce: 1 };

/** What became of a request: go on and say when it is over, or wait. */
export type Taken = { done(): void } | { retryAfter: number };

export class RateLimits {
	readonly #rates: Rates;
	readonly #now: () => number;
	/** By kind of credential, and the credential. */
	readonly #buckets = new Map<Identity["kind"], Map<string, Bucket>>();
	#sweepAt = SWEEP_AT;

	/** @param now in ms */
	constructor(rates: Rates = RATES, now: () => number = () => performance.now()) {
		this.#rates = rates;
		this.#now = now;
	}

	get size(): number {
		let all = 0;
		for (const { size } of this.#buckets.values()) all += size;
		return all;
	}

	/** All that it weighs, or nothing of it. */
	take({ kind, credential }: Pick<Identity, "kind" | "credential">, { requests, atOnce } = ONE): Taken {
		const bucket = this.#bucket(kind, credential);
		if (bucket.left < requests || bucket.running + atOnce > this.#rates.atOnce) {
			const { from, to } = RETRY_AFTER;
			return { retryAfter: from + Math.floor(Math.random() * (to - from + 1)) };
		}
		bucket.left -= requests;
		bucket.running += atOnce;
		let over = false;
		return {
			done: () => {
				if (!over) bucket.running -= atOnce;
				over = true;
			},
		};
	}

	#bucket(kind: Identity["kind"], credential: string): Bucket {
		const now = this.#now();
		const found = this.#buckets.get(kind)?.get(credential);
		if (found !== undefined) {
			found.left = this.#leftOf(found, now);
			found.at = now;
			return found;
		}
		if (this.size >= this.#sweepAt) this.#sweep(now);
		const fresh = { left: this.#rates.burst, at: now, running: 0 };
		this.#buckets.set(kind, (this.#buckets.get(kind) ?? new Map()).set(credential, fresh));
		return fresh;
	}

	#leftOf({ left, at }: Bucket, now: number): number {
		return Math.min(this.#rates.burst, left + ((now - at) / 1000) * this.#rates.perSecond);
	}

	#sweep(now: number): void {
		for (const buckets of this.#buckets.values()) {
			for (const [credential, bucket] of buckets) {
				if (bucket.running === 0 && this.#leftOf(bucket, now) === this.#rates.burst)
					buckets.delete(credential);
			}
		}
		this.#sweepAt = Math.max(SWEEP_AT, 2 * this.size);
	}
}
