/**
 * New signing keys for old. A rotation overlaps: the new key signs from then on, and an older one is believed as
 * long as anything that it signed may live. Whoever fears that an older key has leaked retires it, which ends that.
 */
import { AccountsError } from "./errors.ts";
import type { Keyring, SigningKey } from "./keys.ts";
import type { ServiceToken } from "./service-token.ts";
import type { Sessions } from "./sessions.ts";
import type { Session, Token } from "./snapshot.ts";
import type { Actor, Store } from "./store.ts";
import type { Tokens } from "./tokens.ts";

/** What may be told about a key that is believed. Times are ISO 8601. */
export interface KeyView {
	/** `kid` in what it signs, and in `/door/jwks.json`. */
	id: string;
	state: "signs" | "believed";
	created: string;
	/** When it ends by itself; null: not before it is retired. */
	until: string | null;
	/** Signed by it, neither revoked nor expired. The inference API's own is not counted: it is made anew by itself. */
	tokens: number;
	sessions: number;
}

export interface SigningKeysParts {
	store: Store;
	keyring: Keyring;
	tokens: Tokens;
	sessions: Sessions;
	serviceToken: ServiceToken;
}

export class SigningKeys {
	readonly #parts: SigningKeysParts;

	constructor(parts: SigningKeysParts) {
		this.#parts = parts;
	}

	/** Those that are believed, the oldest first; the last one signs. */
	list(): KeyView[] {
		const { keyring, serviceToken } = this.#parts;
		return keyring.believed().map((key) => {
			const { tokens, sessions } = this.#signedBy([key]);
			return {
				id: key.kid,
				state: key === keyring.signer ? "signs" : "believed",
				created: new Date(key.created).toISOString(),
				until: key.retired === null ? null : new Date(key.retired).toISOString(),
				tokens: tokens.filter((token) => !serviceToken.owns(token)).length,
				sessions: sessions.length,
			};
		});
	}

	/**
	 * When this returns, a new key signs and nothing that was signed before has ended.
	 * @throws AccountsError DATABASE_AWAY, BUSY, SUPERSEDED
	 */
	async rotate(actor: Actor): Promise<KeyView[]> {
		const { store, keyring, serviceToken } = this.#parts;
		await store.change(actor, async (change) => {
			for (const old of keyring.believed().filter(({ retired }) => retired === null)) {
				const end = this.#lastEnd(old, change.now);
				if (end !== null) await keyring.retire(change, old, end);
			}
			const key = await keyring.add(change);
			await change.audit("key.rotate", key.kid);
		});
		await serviceToken.look();
		return this.list();
	}

	/**
	 * When this returns, the newest key alone is believed; what the older ones signed is revoked for good.
	 * @throws AccountsError KEYS_NONE_OLDER, SERVICE_FOLDER, DATABASE_AWAY, BUSY, SUPERSEDED; nothing has ended then
	 */
	async retire(actor: Actor): Promise<{ keys: KeyView[]; ended: { tokens: number; sessions: number } }> {
		const { store, keyring, tokens, sessions, serviceToken } = this.#parts;
		// What serves models does not end with an old key.
		if (serviceToken.isWanted) await serviceToken.ensure(actor);
		const ended = await store.change(actor, async (change) => {
			const old = keyring.believed().filter((key) => key !== keyring.signer);
			if (old.length === 0) throw new AccountsError("KEYS_NONE_OLDER");
			const signed = this.#signedBy(old);
			for (const key of old) {
				await keyring.retire(change, key, change.now);
				await change.audit("key.retire", key.kid);
			}
			await tokens.end(change, signed.tokens);
			await sessions.endThese(change, signed.sessions, "key retired");
			return {
				tokens: signed.tokens.filter((token) => !serviceToken.owns(token)).length,
				sessions: signed.sessions.length,
			};
		});
		return { keys: this.list(), ended };
	}

	/** Milliseconds; null: something that it signed never ends by itself. */
	#lastEnd(key: SigningKey, now: number): number | null {
		const { tokens, sessions } = this.#signedBy([key]);
		const ends = [...tokens, ...sessions].map(({ expires }) => expires ?? Number.POSITIVE_INFINITY);
		const last = Math.max(now, ...ends);
		return last === Number.POSITIVE_INFINITY ? null : last;
	}

	/** What was signed by one of these keys and has not ended. A disabled owner may be enabled again. */
	#signedBy(keys: readonly SigningKey[]): { tokens: Token[]; sessions: Session[] } {
		const { store, tokens, sessions } = this.#parts;
		const kids = new Set(keys.map(({ kid }) => kid));
		const { snapshot } = store;
		return {
			tokens: [...snapshot.tokens.values()].filter(
				(token) => kids.has(token.kid) && [undefined, "USER_DISABLED"].includes(tokens.over(token)),
			),
			sessions: [...snapshot.sessions.values()].filter(
				(session) => kids.has(session.kid) && sessions.over(session) === undefined,
			),
		};
	}
}
