import { describe, expect, test } from "vitest";
import { BLOCK, Memory } from "../../../../proxy/artifacts/memory.ts";
import { Kept } from "../../../../proxy/artifacts/part.ts";
import { StoreUnavailable } from "../../../../proxy/artifacts/patience.ts";

const never = new AbortController().signal;

describe("memory for bodies", () => {
	test("is given out up to its limit, then in turn", async () => {
		const memory = new Memory(10);
		await memory.take(6, 1000, never);
		expect(memory.tryTake(5)).toBe(false);
		expect(memory.tryTake(4)).toBe(true);
		const order: string[] = [];
		const large = memory.take(8, 1000, never).then(() => order.push("large"));
		const small = memory.take(1, 1000, never).then(() => order.push("small"));
		memory.give(4);
		await new Promise(setImmediate);
		// The small one would fit, but the large one was first.
		expect([order, memory.tryTake(1)]).toEqual([[], false]);
		memory.give(6);
		await Promise.all([large, small]);
		expect(order).toEqual(["large", "small"]);
	});

	test("that does not come in time is an unavailable store, and the next one gets it", async () => {
		const memory = new Memory(10);
		await memory.take(5, 1000, never);
		const late = memory.take(10, 30, never);
		const next = memory.take(5, 1000, never);
		await expect(late).rejects.toThrow(StoreUnavailable);
		await next;
	});

	test("is not kept waiting for by who has left", async () => {
		const memory = new Memory(10);
		await memory.take(10, 1000, never);
		const leave = new AbortController();
		const left = memory.take(10, 60_000, leave.signal);
		leave.abort(new Error("gone"));
		await expect(left).rejects.toThrow("gone");
		memory.give(10);
		expect(memory.tryTake(10)).toBe(true);
	});

	test("never makes a wish wait that cannot come true", async () => {
		await expect(new Memory(10).take(11, 1000, never)).rejects.toThrow(RangeError);
	});
});

describe("what is kept", () => {
	test("is what came, across blocks", () => {
		const kept = new Kept(new Memory(3 * BLOCK), 2 * BLOCK + 100);
		const chunk = Buffer.alloc(1_000_003, "abcdefg");
		let length = 0;
		const all: Buffer[] = [];
		while (length < 2 * BLOCK + 100) {
			const piece = chunk.subarray(0, Math.min(chunk.length, 2 * BLOCK + 100 - length));
			kept.add(piece);
			all.push(piece);
			length += piece.length;
		}
		expect(kept.length).toBe(length);
		expect(Buffer.concat([...kept]).equals(Buffer.concat(all))).toBe(true);
		expect(kept.from(BLOCK - 1)?.length).toBe(1);
		expect(kept.from(length)).toBeUndefined();
		expect(() => kept.add(Buffer.from("x"))).toThrow(RangeError);
	});

	test("lets the next one have its blocks", () => {
		const memory = new Memory(BLOCK);
		const kept = new Kept(memory, BLOCK);
		kept.add(Buffer.from("first"));
		const { buffer } = kept.from(0) as Buffer;
		kept.recycle();
		const next = new Kept(memory, BLOCK);
		next.add(Buffer.from("next"));
		expect((next.from(0) as Buffer).buffer).toBe(buffer);
		expect(String(next.from(0))).toBe("next");
	});
});
