/**
 * API tokens and sessions as signed text (RFC 7519, EdDSA). A signature is checked once: the verdict is kept
 * by the SHA-256 of the text. What can change later (expiry, revocation, the owner, the signing key) is no
 * part of the verdict and is looked at on each request.
 */
import { hash } from "node:crypto";
import { errors, jwtVerify, SignJWT } from "jose";
import type { Keyring } from "./keys.ts";

/** The two kinds differ in `typ` and `aud`: neither passes for the other. */
const KINDS = {
	token: { typ: "mlgate-token+jwt", aud: "mlgate-api" },
	session: { typ: "mlgate-session+jwt", aud: "mlgate-browser" },
} as const;
export type JwtKind = keyof typeof KINDS;

const ALG = "EdDSA";

/** The header we write; one with anything else in it was not written by us. */
const HEADER_FIELDS = ["alg", "kid", "typ"];

/** Characters. Ours have about 450. */
const LONGEST = 2_048;

/** Three base64url parts, the last an Ed25519 signature. */
const SPELLING = /^eyJ[\w-]*\.eyJ[\w-]*\.[\w-]{86}$/;

/** Verdicts kept of each kind; the one used longest ago goes first. */
const MOST_KEPT = 10_000;

export interface Claims {
	/** Token or session id. */
	jti: string;
	/** User id. */
	sub: string;
	role?: string | undefined;
	/** Absent: `all`. */
	scope?: string | undefined;
	/** Seconds since 1970; absent: no expiry. */
	exp?: number | undefined;
}

export interface Verified extends Claims {
	kid: string;
}

/** Looks like one of ours. Says nothing about whether it is. */
export const looksLikeJwt = (text: string): boolean => text.length <= LONGEST && SPELLING.test(text);

/** Exactly one spelling of each token is taken: no padding, no stray bits in a part's last character. */
const isCanonical = (text: string): boolean =>
	text.split(".").every((part) => Buffer.from(part, "base64url").toString("base64url") === part);

/** What a verdict is kept by. */
const nameOf = (text: string): string => hash("sha256", text, "base64url");

export class Jwts {
	readonly #keyring: Keyring;
	readonly #issuer: string;
	readonly #clock: () => number;
	readonly #kept: Readonly<Record<JwtKind, Map<string, Verified>>> = { token: new Map(), session: new Map() };

	/** @param name the stack's name. */
	constructor(keyring: Keyring, name: string, clock: () => number) {
		this.#keyring = keyring;
		this.#issuer = `mlgate:${name}`;
		this.#clock = clock;
	}

	/** The id of the key that signs now. Noted with what is to be signed, which may be a moment later. */
	get signer(): string {
		return this.#keyring.signer.kid;
	}

	/** @param kid of the key that was the signer when this was noted */
	async sign(
		kind: JwtKind,
		kid: string,
		{ jti, sub, exp, ...more }: Claims & { name?: string },
	): Promise<string> {
		const signer = this.#keyring.key(kid);
		if (!signer) throw new Error(`there is no signing key ${kid}`);
		const jwt = new SignJWT(more)
			.setProtectedHeader({ alg: ALG, kid: signer.kid, typ: KINDS[kind].typ })
			.setIssuer(this.#issuer)
			.setAudience(KINDS[kind].aud)
			.setIssuedAt(Math.floor(this.#clock() / 1000))
			.setJti(jti)
			.setSubject(sub);
		if (exp !== undefined) jwt.setExpirationTime(exp);
		return await jwt.sign(signer.privateKey);
	}

	/**
	 * The claims if this very text has passed `verify` before and still would; undefined: that takes a look at it.
	 * @param text whatever was sent as a credential
	 */
	known(kind: JwtKind, text: string): Verified | undefined {
		if (text.length > LONGEST) return undefined;
		const name = nameOf(text);
		const kept = this.#kept[kind].get(name);
		if (kept === undefined || this.#keyring.live(kept.kid) === undefined) return undefined;
		this.#refresh(kind, name, kept);
		return kept;
	}

	/** The claims if we signed exactly this text as that kind, else undefined. Expiry is the caller's to check. */
	async verify(kind: JwtKind, text: string): Promise<Verified | undefined> {
		if (!looksLikeJwt(text)) return undefined;
		const known = this.known(kind, text);
		if (known !== undefined) return known;
		const verified = isCanonical(text) ? await this.#verifySignature(kind, text) : undefined;
		if (verified) this.#keep(kind, nameOf(text), verified);
		return verified;
	}

	async #verifySignature(kind: JwtKind, text: string): Promise<Verified | undefined> {
		try {
			const { payload, protectedHeader } = await jwtVerify(
				text,
				({ kid }) => {
					const key = this.#keyring.live(kid);
					if (!key) throw new errors.JWKSNoMatchingKey();
					return key.publicKey;
				},
				{
					algorithms: [ALG],
					issuer: this.#issuer,
					audience: KINDS[kind].aud,
					typ: KINDS[kind].typ,
					requiredClaims: ["sub", "jti", "iat"],
					// The verdict outlives the expiry, which the caller checks; here all that counts is the signature.
					currentDate: new Date(0),
				},
			);
			const fields = Object.keys(protectedHeader).sort();
			if (fields.join() !== HEADER_FIELDS.join() || protectedHeader.typ !== KINDS[kind].typ) return undefined;
			const { sub, jti, exp, role, scope } = payload;
			if (typeof sub !== "string" || typeof jti !== "string") return undefined;
			return {
				sub,
				jti,
				exp,
				role: typeof role === "string" ? role : undefined,
				scope: typeof scope === "string" ? scope : undefined,
				kid: protectedHeader.kid as string,
			};
		} catch (error) {
			if (error instanceof errors.JOSEError) return undefined;
			throw error;
		}
	}

	#keep(kind: JwtKind, name: string, verified: Verified): void {
		const kept = this.#kept[kind];
		kept.delete(name);
		kept.set(name, verified);
		if (kept.size > MOST_KEPT) kept.delete(kept.keys().next().value as string);
	}

	/** In what is far from full nothing is about to go, and the order costs more than the look. */
	#refresh(kind: JwtKind, name: string, verified: Verified): void {
		if (this.#kept[kind].size > MOST_KEPT / 2) this.#keep(kind, name, verified);
	}
}
