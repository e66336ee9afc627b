/** Passwords: what one must be like, and argon2id (RFC 9106) over it. */
import { type Argon2Parameters, argon2, randomBytes, timingSafeEqual } from "node:crypto";
import { promisify } from "node:util";
import { AccountsError } from "./errors.ts";
import { Gate } from "./gate.ts";
import { looksLikeJwt } from "./jwt.ts";

const hashWith = promisify(argon2);

/** OWASP's first choice for argon2id: 19 MiB, two passes, one lane; about 30 ms of one core. */
const COST = { memory: 19_456, passes: 2, parallelism: 1 } as const;
const SALT_BYTES = 16;
const HASH_BYTES = 32;

export const LENGTH = { least: 12, most: 256 } as const;

/** Different characters that a password must have at the least. */
const VARIETY = 5;

/** Long enough, yet the first ones that anybody tries. */
const COMMON = new Set([
	"123456789012",
	"1234567890123",
	"12345678901234",
	"1q2w3e4r5t6y",
	"adminadminadmin",
	"administrator",
	"changemechangeme",
	"letmeinletmein",
	"mlflowmlflow",
	"password1234",
	"password12345",
	"passwordpassword",
	"qwertyuiop12",
	"qwertyuiop123",
	"qwertyuiopasdfgh",
	"welcomewelcome",
]);

/** One spelling for one password, whatever the keyboard composes accents with. */
const normal = (password: string): string => password.normalize("NFC");

interface Rule {
	broken(password: string, userName: string): boolean;
	message: string;
}

const RULES: readonly Rule[] = [
	{ broken: (password) => password.includes("\0"), message: "A password cannot contain a NUL character." },
	{
		broken: (password) => [...password].length < LENGTH.least,
		message: `Use at least ${LENGTH.least} characters. A few words in a row do well.`,
	},
	{
		broken: (password) => [...password].length > LENGTH.most,
		message: `Use at most ${LENGTH.most} characters.`,
	},
	{
		broken: (password) => looksLikeJwt(password),
		message: "This is an API token, not a password.",
	},
	{
		broken: (password, userName) => password.toLowerCase().replaceAll(userName, "").length < VARIETY,
		message: "A password must be more than the user name.",
	},
	{
		broken: (password) => new Set(password).size < VARIETY || COMMON.has(password.toLowerCase()),
		message: "This password is among the first that anybody tries.",
	},
];

/** The first rule that the password breaks, in words for the person; undefined if it is good. */
export function brokenRule(password: string, userName: string): string | undefined {
	return RULES.find((rule) => rule.broken(normal(password), userName))?.message;
}

/**
 * Who is waiting for a hash: `known` is whoever has a session, a link, a browser that signed in before, or a
 * password that was right a while ago. A crowd of guessers waits in a line of its own.
 */
export type Lane = "known" | "stranger";

/** One at a time in each, so that hashing leaves threads for files and names; the rest waits its turn or is refused. */
const gates: Readonly<Record<Lane, Gate>> = { known: new Gate(1, 64), stranger: new Gate(1, 64) };

/** True when a password would not be looked at now. */
export const isBusy = (lane: Lane): boolean => gates[lane].full;

async function argon2id(password: string, salt: Buffer, cost: typeof COST, lane: Lane): Promise<Buffer> {
	const parameters: Argon2Parameters = {
		message: normal(password),
		nonce: salt,
		tagLength: HASH_BYTES,
		...cost,
	};
	return await gates[lane].run(() => hashWith("argon2id", parameters));
}

const unpadded = (bytes: Buffer): string => bytes.toString("base64").replace(/=+$/, "");

/**
 * @returns PHC form: `$argon2id$v=19$m=19456,t=2,p=1$<salt>$<hash>`.
 * @throws AccountsError PASSWORD_POLICY, BUSY
 */
export async function hashPassword(password: string, userName: string): Promise<string> {
	const broken = brokenRule(password, userName);
	if (broken) throw new AccountsError("PASSWORD_POLICY", broken);
	const salt = randomBytes(SALT_BYTES);
	const hash = await argon2id(password, salt, COST, "known");
	const { memory, passes, parallelism } = COST;
	return `$argon2id$v=19$m=${memory},t=${passes},p=${parallelism}$${unpadded(salt)}$${unpadded(hash)}`;
}

const PHC = /^\$argon2id\$v=19\$m=(\d+),t=(\d+),p=(\d+)\$([\w+/]+)\$([\w+/]+)$/;

/** Looked at in place of a user who is not there or has no password: costs the same, never fits. */
const NOBODY = `$argon2id$v=19$m=${COST.memory},t=${COST.passes},p=${COST.parallelism}$${unpadded(randomBytes(SALT_BYTES))}$${unpadded(randomBytes(HASH_BYTES))}`;

/**
 * Whether the password fits what is stored; `stored` null costs the same and is false.
 * @throws AccountsError BUSY
 */
export async function verifyPassword(
	password: string,
	stored: string | null,
	lane: Lane = "stranger",
): Promise<boolean> {
	const [, memory, passes, parallelism, salt = "", hash = ""] = PHC.exec(stored ?? NOBODY) ?? [];
	if (memory === undefined) throw new Error("a stored password hash cannot be read");
	const cost = {
		memory: Number(memory),
		passes: Number(passes),
		parallelism: Number(parallelism),
	} as typeof COST;
	const fits = timingSafeEqual(
		await argon2id(password, Buffer.from(salt, "base64"), cost, lane),
		Buffer.from(hash, "base64"),
	);
	return fits && stored !== null;
}
