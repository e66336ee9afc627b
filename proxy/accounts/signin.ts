/**
 * Whether a user name and a password belong together. The login page and `Basic <user>:<password>` ask here
 * and share the limits. An unknown user, a disabled one and a wrong password cost the same and read the same.
 */
import { createHmac, randomBytes } from "node:crypto";
import type { AuditTrail } from "../audit/trail.ts";
import { AccountsError } from "./errors.ts";
import { type Limits, type Place, SignInLimits } from "./limits.ts";
import { userName } from "./names.ts";
import { isBusy, type Lane, verifyPassword } from "./passwords.ts";
import type { User } from "./snapshot.ts";
import type { Store } from "./store.ts";

export type SignInAnswer =
	| { ok: true; user: User; generation: number }
	| { ok: false; reason: "PASSWORD_WRONG" }
	| { ok: false; reason: "SIGN_IN_LIMITED" | "SIGN_IN_BUSY" /** Seconds. */; retryAfter: number };

/** Longest text that is hashed at all; no password is that long. */
const LONGEST = 2_048;

/** Kept verdicts for Basic, for so many milliseconds; the oldest goes first. */
const KEEP = { for: 60_000, most: 1_000 } as const;

const BUSY = { ok: false, reason: "SIGN_IN_BUSY", retryAfter: 2 } as const;
const WRONG = { ok: false, reason: "PASSWORD_WRONG" } as const;

export class SignIn {
	readonly #store: Store;
	readonly #limits: SignInLimits;
	readonly #trail: Pick<AuditTrail, "note">;
	/** For the keys of kept verdicts; never leaves the process. */
	readonly #secret = randomBytes(32);
	readonly #kept = new Map<string, { userId: string; generation: number; until: number }>();
	readonly #running = new Map<string, Promise<SignInAnswer>>();

	constructor(store: Store, limits: Limits, trail: Pick<AuditTrail, "note">) {
		this.#store = store;
		this.#trail = trail;
		this.#limits = new SignInLimits(limits);
	}

	/** One try, looked at now. */
	async check(
		name: string,
		password: string,
		place: Place,
		lane: Lane = place.device === undefined ? "stranger" : "known",
	): Promise<SignInAnswer> {
		const asked = userName(name);
		// No user has such a name, nobody such a password: nothing to count or to hash, and nothing to learn.
		if (asked === undefined || password === "" || password.length > LONGEST || password.includes("\0"))
			return WRONG;
		if (isBusy(lane)) return BUSY;
		const attempt = await this.#limits.begin(asked, place);
		if ("wait" in attempt) {
			this.#note(asked, place, "SIGN_IN_LIMITED");
			return { ok: false, reason: "SIGN_IN_LIMITED", retryAfter: attempt.wait };
		}
		const user = this.#store.snapshot.userNamed(asked);
		const generation = user?.generation ?? 0;
		let fits: boolean;
		try {
			fits = await verifyPassword(password, user?.password ?? null, lane);
		} catch (error) {
			await attempt.giveBack(false);
			if (error instanceof AccountsError && error.code === "BUSY") return BUSY;
			throw error;
		}
		// Looked up again: while the hash was made the user may have been disabled or given a new password.
		const current = user && this.#store.snapshot.users.get(user.id);
		if (
			fits &&
			current &&
			current.generation === generation &&
			current.disabled === null &&
			!current.system
		) {
			await attempt.giveBack(true);
			return { ok: true, user: current, generation };
		}
		this.#note(asked, place, "PASSWORD_WRONG");
		return WRONG;
	}

	/** The same for credentials that come with every request: a good verdict is kept for a minute. */
	async checkBasic(name: string, password: string, place: Place): Promise<SignInAnswer> {
		const asked = userName(name);
		if (asked === undefined) return WRONG;
		// The limit stands before the kept verdict: else a guesser could go on guessing against what is kept.
		const wait = await this.#limits.wait(asked, place);
		const key = this.#key(asked, password, place);
		const running = this.#running.get(key);
		if (running) return await running;
		if (wait > 0) {
			this.#note(asked, place, "SIGN_IN_LIMITED");
			return { ok: false, reason: "SIGN_IN_LIMITED", retryAfter: wait };
		}
		// Whoever brought this password before, when it was right, does not wait behind strangers.
		const lane = this.#kept.has(key) ? "known" : "stranger";
		const kept = this.#keptVerdict(key);
		if (kept) return kept;
		// A client's many parallel requests are one try.
		const answer = this.check(asked, password, place, lane);
		this.#running.set(key, answer);
		try {
			const outcome = await answer;
			if (outcome.ok) {
				const { user, generation } = outcome;
				this.#keep(key, user.id, generation);
				this.#trail.note({
					act: "sign-in.basic",
					actor: user.name,
					role: user.role,
					credential: user.id,
					listener: place.listener,
					address: place.address,
					target: user.name,
				});
			}
			return outcome;
		} finally {
			this.#running.delete(key);
		}
	}

	#key(name: string, password: string, { listener, address }: Place): string {
		return createHmac("sha256", this.#secret)
			.update(JSON.stringify([name, password, listener, address]))
			.digest("base64url");
	}

	#keptVerdict(key: string): SignInAnswer | undefined {
		const kept = this.#kept.get(key);
		if (!kept) return undefined;
		const user = this.#store.snapshot.users.get(kept.userId);
		if (user && user.generation === kept.generation && this.#store.clock() < kept.until) {
			return { ok: true, user, generation: kept.generation };
		}
		this.#kept.delete(key);
		return undefined;
	}

	#keep(key: string, userId: string, generation: number): void {
		this.#kept.set(key, { userId, generation, until: this.#store.clock() + KEEP.for });
		if (this.#kept.size > KEEP.most) this.#kept.delete(this.#kept.keys().next().value as string);
	}

	/** Names that no user has are not written down: people type passwords into the name field. */
	#note(name: string, { listener, address }: Place, reason: "PASSWORD_WRONG" | "SIGN_IN_LIMITED"): void {
		const target = this.#store.snapshot.userNamed(name)?.name ?? null;
		this.#trail.note({ act: "sign-in.refuse", actor: "", listener, address, target, reason });
	}
}
