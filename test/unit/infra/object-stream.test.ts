import { describe, expect, test } from "vitest";
import { frame, readObjects } from "../../../infra/object-stream.ts";

const OBJECTS = [
	{ key: "empty", content: "" },
	{ key: 'quotes " and 日本', content: "some bytes" },
	{ key: "large", content: "x".repeat(100_000) },
];

function stream(): Buffer {
	const frames = OBJECTS.flatMap(({ key, content }) => [
		frame({ key, size: content.length }),
		Buffer.from(content),
	]);
	return Buffer.concat([...frames, frame({ end: OBJECTS.length })]);
}

async function* inChunks(bytes: Buffer, size: number): AsyncGenerator<Buffer> {
	for (let from = 0; from < bytes.length; from += size) yield bytes.subarray(from, from + size);
}

async function readAll(input: AsyncIterable<Buffer>) {
	const found: { key: string; content: string }[] = [];
	for await (const { key, body } of readObjects(input)) {
		const pieces: Buffer[] = [];
		for await (const piece of body) pieces.push(piece);
		found.push({ key, content: Buffer.concat(pieces).toString("utf8") });
	}
	return found;
}

describe("a stream of objects", () => {
	test.each([1, 3, 4096, 1_000_000])("comes out as it went in, in chunks of %i bytes", async (size) => {
		expect(await readAll(inChunks(stream(), size))).toEqual(OBJECTS);
	});

	test("goes on behind a body that nobody read", async () => {
		const keys: string[] = [];
		for await (const { key } of readObjects(inChunks(stream(), 1000))) keys.push(key);
		expect(keys).toEqual(OBJECTS.map(({ key }) => key));
	});

	test("that breaks off anywhere is not taken for a whole one", async () => {
		const whole = stream();
		for (const length of [0, 2, 10, 40, 5_000, whole.length - 1])
			await expect(readAll(inChunks(whole.subarray(0, length), 777))).rejects.toThrow("broke off");
	});

	test("that lost an object in between says so", async () => {
		const [first] = OBJECTS;
		const bytes = Buffer.concat([frame({ key: first?.key ?? "", size: 0 }), frame({ end: 2 })]);
		await expect(readAll(inChunks(bytes, 10))).rejects.toThrow("1 objects and says 2");
	});

	test("that is something else is refused", async () => {
		await expect(readAll(inChunks(Buffer.from("Error: no such container"), 100))).rejects.toThrow(
			"no stream",
		);
	});
});
