/**
 * What a backup needs done where the store and the door's volume can be reached: `node agent.ts <job>`, in a container
 * of its own that ops starts from the door's image. It is configured by the door's variables, works on standard input
 * and output, and says on standard error why it failed.
 *
 * | job | standard input | standard output |
 * |---|---|---|
 * | `list` | | a line of JSON an object: `{key, size}` |
 * | `export` | | all objects, see `infra/object-stream.ts` |
 * | `import` | objects | a line of JSON an object that is stored: `{key, size}` |
 * | `check` | | a line of JSON an object, read from its first to its last byte: `{key, size, sha256}` |
 * | `keep` | a line an object: its key as JSON | `{removed}`: how many others there were |
 * | `read-key` | | the wrapping key |
 * | `write-key` | the wrapping key | |
 *
 * `node agent.ts <job> <mark>` writes the mark behind its last byte and stays until its input ends: the engine gives up what
 * nobody has read two seconds after a command's end. For the jobs without an input of their own.
 */
import { createHash } from "node:crypto";
import { once } from "node:events";
import { open, readFile, rename } from "node:fs/promises";
import { createInterface } from "node:readline";
import { buffer } from "node:stream/consumers";
import { frame, type ObjectHead, readObjects } from "../../infra/object-stream.ts";
import { isRoundTrip } from "../artifacts/names.ts";
import { BATCH, Store, type StoredObject } from "../artifacts/store.ts";

/** Objects that are fetched ahead: small ones are a matter of round trips. */
const AHEAD = 8;
/** Up to this size several objects are on their way at once, and are held in memory. Bytes. */
const SMALL = 1 << 20;
/** Whoever wants this to stop ends the process. */
const NEVER: AbortSignal = new AbortController().signal;

const setting = (name: string): string => {
	const value = process.env[name];
	if (value === undefined) throw new Error(`${name} is missing`);
	return value;
};

const openStore = async (): Promise<Store> =>
	new Store({
		url: setting("DOOR_STORE_URL"),
		bucket: setting("DOOR_STORE_BUCKET"),
		user: setting("DOOR_STORE_USER"),
		secret: (await readFile(setting("DOOR_STORE_SECRET_FILE"), "utf8")).trim(),
	});

async function write(bytes: Buffer | string): Promise<void> {
	if (!process.stdout.write(bytes)) await once(process.stdout, "drain");
}

const line = (value: object): Promise<void> => write(`${JSON.stringify(value)}\n`);

async function* everyObject(store: Store): AsyncGenerator<ObjectHead> {
	let token: string | undefined;
	do {
		const page = await store.page("", false, token, NEVER);
		yield* page.files.filter(({ key }) => !isRoundTrip(key));
		token = page.next;
	} while (token !== undefined);
}

interface Fetched {
	key: string;
	object: StoredObject;
}

/** All objects in their order. One that is removed meanwhile is left out. */
async function* everyBody(store: Store): AsyncGenerator<Fetched> {
	let ahead: Promise<Fetched | undefined>[] = [];
	const fetch = async (key: string): Promise<Fetched | undefined> => {
		const object = await store.get(key, NEVER);
		return object && { key, object };
	};
	for await (const { key, size } of everyObject(store)) {
		// A large one is fetched alone: the store does not wait for ever for those behind it to be taken.
		if (size > SMALL) {
			yield* inTurn(ahead);
			ahead = [];
			yield* inTurn([fetch(key)]);
			continue;
		}
		const fetched = fetch(key);
		// A failure is told when its turn comes.
		fetched.catch(() => {});
		ahead.push(fetched);
		if (ahead.length >= AHEAD) yield* inTurn(ahead.splice(0, 1));
	}
	yield* inTurn(ahead);
}

async function* inTurn(all: readonly Promise<Fetched | undefined>[]): AsyncGenerator<Fetched> {
	for (const one of all) {
		const fetched = await one;
		if (fetched !== undefined) yield fetched;
	}
}

/** The MD5 of an object that was stored in one piece; a store that put parts together says something else. */
const md5Of = (etag: string): string | undefined => /^"([0-9a-f]{32})"$/.exec(etag)?.[1];

/** Passes the bytes on, and fails if they are not what the store said they were. */
async function* whole(key: string, { size, etag, body }: StoredObject): AsyncGenerator<Buffer> {
	const expected = md5Of(etag);
	const md5 = createHash("md5");
	let bytes = 0;
	for await (const chunk of body) {
		bytes += chunk.length;
		md5.update(chunk);
		yield chunk;
	}
	if (bytes !== size) throw new Error(`${key}: the store sent ${bytes} bytes of ${size}`);
	if (expected !== undefined && md5.digest("hex") !== expected)
		throw new Error(`${key}: the store sent other bytes than it once got`);
}

async function list(store: Store): Promise<void> {
	for await (const { key, size } of everyObject(store)) await line({ key, size });
}

async function exportAll(store: Store): Promise<void> {
	let count = 0;
	for await (const { key, object } of everyBody(store)) {
		await write(frame({ key, size: object.size }));
		for await (const chunk of whole(key, object)) await write(chunk);
		count += 1;
	}
	await write(frame({ end: count }));
}

async function check(store: Store): Promise<void> {
	for await (const { key, object } of everyBody(store)) {
		const sha256 = createHash("sha256");
		for await (const chunk of whole(key, object)) sha256.update(chunk);
		await line({ key, size: object.size, sha256: sha256.digest("hex") });
	}
}

async function* hashing(body: AsyncIterable<Buffer>, md5: ReturnType<typeof createHash>) {
	for await (const chunk of body) {
		md5.update(chunk);
		yield chunk;
	}
}

async function put(
	store: Store,
	{ key, size }: ObjectHead,
	body: AsyncIterable<Buffer> | Buffer,
): Promise<void> {
	const md5 = createHash("md5");
	const bytes = Buffer.isBuffer(body) ? body : hashing(body, md5);
	if (Buffer.isBuffer(bytes)) md5.update(bytes);
	const etag = await store.put(key, {}, bytes, size, undefined, NEVER);
	const sent = md5.digest("hex");
	if (md5Of(etag) !== sent) throw new Error(`${key}: the store has stored other bytes than were sent`);
	await line({ key, size });
}

async function importAll(store: Store): Promise<void> {
	const running = new Set<Promise<void>>();
	for await (const { key, size, body } of readObjects(process.stdin)) {
		if (size > SMALL) {
			await put(store, { key, size }, body);
			continue;
		}
		const pieces: Buffer[] = [];
		for await (const piece of body) pieces.push(piece);
		const job: Promise<void> = put(store, { key, size }, Buffer.concat(pieces));
		running.add(job);
		const over = () => running.delete(job);
		job.then(over, over);
		// A failure ends everything here.
		if (running.size >= AHEAD) await Promise.race(running);
	}
	await Promise.all(running);
}

async function keep(store: Store): Promise<void> {
	const kept = new Set<string>();
	for await (const text of createInterface({ input: process.stdin })) kept.add(JSON.parse(text));
	// Removed when the listing is over: it goes by names that must still be there.
	const others: string[] = [];
	for await (const { key } of everyObject(store)) if (!kept.has(key)) others.push(key);
	for (let from = 0; from < others.length; from += BATCH)
		await store.deleteAll(others.slice(from, from + BATCH), NEVER);
	await line({ removed: others.length });
}

/** Whole or not at all. */
async function writeKey(): Promise<void> {
	const file = setting("DOOR_KEY_FILE");
	const key = await buffer(process.stdin);
	if (key.length === 0) throw new Error("there was no key");
	const handle = await open(`${file}.new`, "w", 0o600);
	try {
		await handle.writeFile(key);
		await handle.sync();
	} finally {
		await handle.close();
	}
	await rename(`${file}.new`, file);
}

const OBJECT_JOBS: Readonly<Record<string, (store: Store) => Promise<void>>> = {
	list,
	export: exportAll,
	import: importAll,
	check,
	keep,
};
const KEY_JOBS: Readonly<Record<string, () => Promise<void>>> = {
	"read-key": async () => write(await readFile(setting("DOOR_KEY_FILE"))),
	"write-key": writeKey,
};

/** @param mark none: nobody waits for one. */
async function finish(mark: string | undefined): Promise<void> {
	if (mark === undefined) return;
	await write(mark);
	await once(process.stdin.resume(), "end");
}

async function main(job = "", mark?: string): Promise<void> {
	const objects = OBJECT_JOBS[job];
	const key = KEY_JOBS[job];
	if (objects) {
		const store = await openStore();
		await objects(store);
		await store.close();
	} else if (key) await key();
	else throw new Error(`there is no job "${job}"`);
	await finish(mark);
}

// Process 1 of its container: nothing but a handler makes these work.
for (const signal of ["SIGTERM", "SIGINT"] as const) process.on(signal, () => process.exit(130));
// Nobody takes what is written any more.
process.stdout.on("error", () => process.exit(1));

main(process.argv[2], process.argv[3]).then(
	() => process.exit(0),
	(error: Error) => {
		process.stderr.write(`${error.message}\n`);
		process.exit(1);
	},
);
