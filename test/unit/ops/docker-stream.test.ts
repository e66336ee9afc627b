import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { newMark, untilMark } from "../../../ops/lib/docker-stream.ts";

const MARK = newMark();

async function* inChunks(bytes: Buffer, size: number): AsyncGenerator<Buffer> {
	for (let from = 0; from < bytes.length; from += size) yield bytes.subarray(from, from + size);
}

async function read(bytes: Buffer, size: number): Promise<[content: Buffer, whole: boolean]> {
	const pieces: Buffer[] = [];
	const reading = untilMark(inChunks(bytes, size), Buffer.from(MARK));
	for (;;) {
		const { done, value } = await reading.next();
		if (done) return [Buffer.concat(pieces), value];
		pieces.push(value);
	}
}

describe("output with a mark behind it", () => {
	const content = fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes));
	const size = fc.integer({ min: 1, max: 400 });

	test("is what stands before the mark, in whatever pieces it comes", async () => {
		await fc.assert(
			fc.asyncProperty(content, size, async (bytes, size) => {
				const [found, whole] = await read(Buffer.concat([bytes, Buffer.from(MARK)]), size);
				expect([found.equals(bytes), whole]).toEqual([true, true]);
			}),
		);
	});

	test("is not whole without all of it", async () => {
		await fc.assert(
			fc.asyncProperty(
				content,
				size,
				fc.integer({ min: 0, max: MARK.length - 1 }),
				async (bytes, size, length) => {
					const [, whole] = await read(Buffer.concat([bytes, Buffer.from(MARK.slice(0, length))]), size);
					expect(whole).toBe(false);
				},
			),
		);
	});

	test("goes on behind another one's mark", async () => {
		const bytes = Buffer.from(`before${newMark()}behind`);
		expect(await read(Buffer.concat([bytes, Buffer.from(MARK)]), 7)).toEqual([bytes, true]);
	});
});
