import { createHmac, generateKeyPairSync, type KeyObject } from "node:crypto";
import { join } from "node:path";
import { type JWTPayload, SignJWT } from "jose";
import pino from "pino";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { Database } from "../../../../proxy/accounts/database.ts";
import { type Keyring, openKeyring } from "../../../../proxy/accounts/keys.ts";
import { ACTOR, basic, bearer, facts, startAccounts, type TestAccounts } from "../../../support/accounts.ts";
import { startPostgres, type TestPostgres } from "../../../support/postgres.ts";

// A busy machine hashes slowly.
vi.setConfig({ testTimeout: 60_000 });

let postgres: TestPostgres;
let accounts: TestAccounts;
let keyring: Keyring;
/** A good token of `operator` and what it says. */
let good: string;
let claims: JWTPayload;

const part = (value: unknown) => Buffer.from(JSON.stringify(value)).toString("base64url");
const parts = (token: string) => token.split(".") as [string, string, string];
const read = (text: string) => JSON.parse(Buffer.from(text, "base64url").toString());

/** Signs as the door does, except for what the attack changes. */
async function forge(
	change: { header?: Record<string, unknown>; payload?: Record<string, unknown>; key?: KeyObject } = {},
): Promise<string> {
	const header = { alg: "EdDSA", kid: keyring.signer.kid, typ: "mlgate-token+jwt", ...change.header };
	const payload = Object.fromEntries(
		Object.entries({ ...claims, ...change.payload }).filter(([, value]) => value !== undefined),
	);
	return await new SignJWT(payload as JWTPayload)
		.setProtectedHeader(header as { alg: string })
		.sign(change.key ?? keyring.signer.privateKey, { crit: { b64: true } } as never);
}

/** The reason of the refusal; a fault of ours is no refusal. */
async function refused(token: string): Promise<string> {
	const verdict = await accounts.authority.authenticate(facts(bearer(token)));
	expect(verdict.ok, "the attack got in").toBe(false);
	const reason = verdict.ok ? "" : verdict.reason;
	expect(reason).not.toBe("DOOR_ERROR");
	const asPassword = await accounts.authority.authenticate(facts(basic("any", token)));
	expect(asPassword.ok, "the attack got in as a Basic password").toBe(false);
	return reason;
}

beforeAll(async () => {
	postgres = await startPostgres();
	accounts = await startAccounts(await postgres.database());
	const { url, passwordFile } = accounts.database;
	const database = new Database({ url, passwordFile }, pino({ enabled: false }));
	keyring = await openKeyring(database, join(accounts.folder, "wrapping-key"), accounts.now);
	await database.close();
	good = (await accounts.tokens.create(ACTOR, { name: "ci", role: "editor", user: "operator" })).text;
	claims = read(parts(good)[1]);
}, 60_000);

afterAll(async () => {
	await accounts?.remove();
	await postgres?.close();
});

describe("control", () => {
	it("takes the good token as Bearer and as Basic password under any user name", async () => {
		for (const headers of [
			bearer(good),
			{ authorization: `bearer  ${good}` },
			basic("any", good),
			basic("", good),
		]) {
			const verdict = await accounts.authority.authenticate(facts(headers));
			expect(verdict).toMatchObject({
				ok: true,
				identity: { kind: "token", user: "operator", role: "editor", name: "ci" },
			});
		}
	});

	it("takes a second text of the same claims, signed as the door signs: the forgeries below fail for their change alone", async () => {
		const again = await forge();
		expect(await accounts.authority.authenticate(facts(bearer(again)))).toMatchObject({ ok: true });
	});

	it("has issuer, audience, type, key id, token id, owner, role, name and times in it", () => {
		expect(read(parts(good)[0])).toEqual({ alg: "EdDSA", kid: keyring.signer.kid, typ: "mlgate-token+jwt" });
		expect(claims).toEqual({
			iss: "mlgate:lab",
			aud: "mlgate-api",
			jti: expect.stringMatching(/^tok-[0-9a-f]{20}$/),
			sub: expect.any(String),
			role: "editor",
			name: "ci",
			iat: expect.any(Number),
			exp: (claims.iat ?? 0) + 90 * 86_400,
		});
	});
});

describe("algorithm confusion", () => {
	it.each(["none", "None", "NONE", "nOnE"])("alg %s, with no signature, another's or ours", async (alg) => {
		const head = part({ alg, kid: keyring.signer.kid, typ: "mlgate-token+jwt" });
		const [, payload, signature] = parts(good);
		for (const end of ["", signature, "A".repeat(86)]) await refused(`${head}.${payload}.${end}`);
	});

	it("HS256 with the public key as secret, in each form in which it can be had", async () => {
		const { publicKey, jwk } = keyring.signer;
		const secrets = [
			publicKey.export({ format: "pem", type: "spki" }),
			publicKey.export({ format: "der", type: "spki" }),
			Buffer.from(jwk.x ?? "", "base64url"),
			jwk.x ?? "",
			JSON.stringify(jwk),
		];
		for (const secret of secrets) {
			for (const alg of ["HS256", "HS512"]) {
				const text = `${part({ alg, kid: keyring.signer.kid, typ: "mlgate-token+jwt" })}.${parts(good)[1]}`;
				const mac = createHmac(alg === "HS256" ? "sha256" : "sha512", secret)
					.update(text)
					.digest("base64url");
				await refused(`${text}.${mac}`);
			}
		}
	});

	it("another signature algorithm with a key of the attacker", async () => {
		const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
		expect(await refused(await forge({ header: { alg: "ES256" }, key: privateKey }))).toBe("TOKEN_INVALID");
	});
});

describe("key confusion", () => {
	it.each([
		["a stranger's key under our key id", { header: {} }],
		["a stranger's key under its own id", { header: { kid: "bm90LW91cnM" } }],
		["a key id that is no own key", { header: { kid: "__proto__" } }],
		["a key id that is a path", { header: { kid: "../../../../dev/null" } }],
		["a key id with SQL in it", { header: { kid: "' or 1=1 --" } }],
		["no key id", { header: { kid: undefined } }],
	])("%s", async (_name, change) => {
		const { privateKey } = generateKeyPairSync("ed25519");
		expect(await refused(await forge({ ...change, key: privateKey }))).toBe("TOKEN_INVALID");
	});

	it("a key brought along in the header, by value or by address", async () => {
		const { privateKey, publicKey } = generateKeyPairSync("ed25519");
		const jwk = publicKey.export({ format: "jwk" });
		for (const header of [
			{ jwk },
			{ jwk, kid: undefined },
			{ jku: "http://127.0.0.1:1/jwks" },
			{ x5c: ["AA=="] },
		]) {
			await refused(await forge({ header, key: privateKey }));
			expect(await refused(await forge({ header: { ...header, kid: keyring.signer.kid } }))).toBe(
				"TOKEN_INVALID",
			);
		}
	});

	it("a key id that is no text", async () => {
		const [, payload, signature] = parts(good);
		for (const kid of [1, null, [keyring.signer.kid], { kid: keyring.signer.kid }]) {
			await refused(`${part({ alg: "EdDSA", kid, typ: "mlgate-token+jwt" })}.${payload}.${signature}`);
		}
	});
});

describe("claims, signed with our own key", () => {
	it.each<[string, Record<string, unknown>]>([
		["another issuer", { iss: "mlgate:other" }],
		["no issuer", { iss: undefined }],
		["another audience", { aud: "mlgate-browser" }],
		["no audience", { aud: undefined }],
		["no owner", { sub: undefined }],
		["another owner", { sub: "00000000-0000-4000-8000-000000000002" }],
		["an owner that is no text", { sub: ["operator"] }],
		["no token id", { jti: undefined }],
		["a token id that is no text", { jti: 7 }],
		["no time of issue", { iat: undefined }],
		["no expiry, for a token that has one", { exp: undefined }],
		["a later expiry", { exp: 4_102_444_800 }],
		["an expiry that is no number", { exp: "never" }],
		["a higher role", { role: "admin" }],
		["a role that is no own key", { role: "constructor" }],
		["no role", { role: undefined }],
	])("%s", async (_name, payload) => {
		expect(await refused(await forge({ payload }))).toBe("TOKEN_INVALID");
	});

	it("a token id that the door never gave", async () => {
		expect(await refused(await forge({ payload: { jti: "tok-00000000000000000000" } }))).toBe(
			"TOKEN_UNKNOWN",
		);
		expect(await refused(await forge({ payload: { jti: "__proto__" } }))).toBe("TOKEN_UNKNOWN");
	});

	it.each(["JWT", "mlgate-session+jwt", "application/mlgate-token+jwt", "MLGATE-TOKEN+JWT", undefined])(
		"type %s",
		async (typ) => {
			expect(await refused(await forge({ header: { typ } }))).toBe("TOKEN_INVALID");
		},
	);

	it("critical or unknown header fields", async () => {
		for (const header of [{ crit: ["b64"], b64: true }, { cty: "JWT" }, { zip: "DEF" }, { nonce: "1" }]) {
			await refused(await forge({ header }));
		}
	});

	it("an API token in the session cookie, and a session as API token", async () => {
		const asCookie = await accounts.authority.authenticate(facts({ cookie: `mlgate-lab=${good}` }));
		expect(asCookie).toEqual({ ok: false, presented: true, reason: "SESSION_INVALID" });
		expect(
			await refused(
				await forge({ header: { typ: "mlgate-session+jwt" }, payload: { aud: "mlgate-browser" } }),
			),
		).toBe("TOKEN_INVALID");
	});
});

describe("spellings", () => {
	it("every other last character of each part that decodes to the same bytes", async () => {
		const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
		let tried = 0;
		for (const [index, text] of parts(good).entries()) {
			for (const last of alphabet) {
				const other = text.slice(0, -1) + last;
				if (other === text || !Buffer.from(other, "base64url").equals(Buffer.from(text, "base64url")))
					continue;
				const spelled = parts(good).with(index, other).join(".");
				await refused(spelled);
				tried++;
			}
		}
		expect(tried).toBeGreaterThanOrEqual(15);
	});

	it("padding, the other base64 alphabet, blanks, line ends, more or fewer parts", async () => {
		const [header, payload, signature] = parts(good);
		const spellings = [
			`${header}=.${payload}.${signature}`,
			`${header}.${payload}==.${signature}`,
			`${header}.${payload}.${signature}==`,
			`${header}.${payload}.${signature.replace(/[-_]/g, (c) => (c === "-" ? "+" : "/"))}=`,
			`${header} .${payload}.${signature}`,
			`${header}.${payload}\t.${signature}`,
			`${header}.${payload}.${signature}\n`,
			`${header}.${payload}.${signature}.`,
			`.${header}.${payload}.${signature}`,
			`${header}.${payload}.${signature}.${signature}`,
			`${header}.${payload}`,
			`${header}.${payload}.`,
			`${header}.${payload}.${signature},${good}`,
			`${good} ${good}`,
			"",
			"...",
			"eyJ.eyJ.",
			`${header}.${payload}.${signature.slice(0, -1)}`,
			"eyJ".repeat(100_000),
		];
		for (const spelling of spellings) if (spelling !== good) await refused(spelling);
	});

	it("a changed byte anywhere in it", async () => {
		for (let at = 0; at < good.length; at += 7) {
			const other = good[at] === "A" ? "B" : "A";
			if (good[at] !== ".") await refused(good.slice(0, at) + other + good.slice(at + 1));
		}
	});

	it("an Authorization header that is none", async () => {
		const reasons: [string, string][] = [
			["", "AUTHORIZATION_UNREADABLE"],
			["Bearer", "AUTHORIZATION_UNREADABLE"],
			[good, "AUTHORIZATION_UNREADABLE"],
			[`Bearer ${good}, Basic YTpi`, "AUTHORIZATION_UNREADABLE"],
			[`Token ${good}`, "AUTHORIZATION_SCHEME"],
			["Basic !!!!", "AUTHORIZATION_UNREADABLE"],
			["Basic YWJj", "AUTHORIZATION_UNREADABLE"],
			[`Basic ${Buffer.from([0x61, 0x3a, 0xff, 0xfe]).toString("base64")}`, "AUTHORIZATION_UNREADABLE"],
		];
		for (const [authorization, reason] of reasons) {
			const verdict = await accounts.authority.authenticate(facts({ authorization }));
			expect(verdict, authorization).toEqual({ ok: false, presented: true, reason });
		}
	});
});
