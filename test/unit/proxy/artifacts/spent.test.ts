import { memoryUsage } from "node:process";
import { expect, it } from "vitest";
import { Spent } from "../../../../proxy/artifacts/spent.ts";

const PIECE = 64 * 1024;
const MiB = 1024 * 1024;

/** Bytes of buffers at most while so many bytes come in pieces that nobody keeps. */
function mostWhile(bytes: number, passed: (bytes: number) => void): number {
	const before = memoryUsage().arrayBuffers;
	let most = 0;
	for (let done = 0; done < bytes; done += PIECE) {
		// Not from a pool, as sockets make them.
		Buffer.allocUnsafeSlow(PIECE)[0] = 1;
		passed(PIECE);
		most = Math.max(most, memoryUsage().arrayBuffers - before);
	}
	return most;
}

it("keeps a few MiB of buffers, however many have gone through", () => {
	const spent = new Spent();
	expect(mostWhile(512 * MiB, (bytes) => spent.passed(bytes))).toBeLessThan(24 * MiB);
	// What V8 does by itself, so that this test can tell the difference.
	expect(mostWhile(512 * MiB, () => {})).toBeGreaterThan(24 * MiB);
});
