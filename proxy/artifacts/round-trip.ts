/** Proves that the store takes, gives and removes an object. */
import { randomBytes } from "node:crypto";
import { buffer } from "node:stream/consumers";
import { roundTripKey } from "./names.ts";
import type { Store } from "./store.ts";

/** @throws Error that says which of the three did not work. */
export async function roundTrip(store: Store, signal: AbortSignal): Promise<void> {
	const content = randomBytes(64);
	// A name of its own: two of these at once do not meet.
	const key = roundTripKey(randomBytes(8).toString("hex"));
	await store.put(key, {}, content, content.length, undefined, signal);
	try {
		const object = await store.get(key, signal);
		if (object === undefined) throw new Error("what was stored is not there");
		if (!(await buffer(object.body)).equals(content)) throw new Error("what was read is not what was stored");
	} finally {
		await store.deleteAll([key], signal);
	}
	if ((await store.head(key, signal)) !== undefined) throw new Error("what was removed is still there");
}
