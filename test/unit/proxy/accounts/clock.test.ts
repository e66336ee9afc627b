import { describe, expect, it } from "vitest";
import { steadyClock } from "../../../../proxy/accounts/clock.ts";
import type { Log } from "../../../../proxy/accounts/log.ts";

/** A machine whose clock can be set, and whose running time cannot. */
function machine(start = Date.parse("2026-11-01T12:00:00Z")) {
	let [wall, elapsed] = [start, 5_000];
	const warned: string[] = [];
	const log = {
		debug() {},
		info() {},
		error() {},
		warn: (_: object, text: string) => void warned.push(text),
	};
	const clock = steadyClock(
		log as unknown as Log,
		() => wall,
		() => elapsed,
	);
	return {
		clock,
		warned,
		pass: (ms: number) => {
			wall += ms;
			elapsed += ms;
		},
		set: (by: number) => {
			wall += by;
		},
	};
}

describe("the door's time", () => {
	it("is the machine's, while nobody touches it", () => {
		const { clock, pass, warned } = machine();
		const began = clock();
		for (let i = 0; i < 100; i++) pass(997);
		expect(clock() - began).toBe(99_700);
		expect(warned).toEqual([]);
	});

	it("never runs backwards: what has expired stays expired when the clock is set back by a year", () => {
		const { clock, pass, set, warned } = machine();
		const began = clock();
		pass(60_000);
		expect(clock() - began).toBe(60_000);
		set(-365 * 86_400_000);
		let before = clock();
		expect(before - began).toBe(60_000);
		for (let i = 0; i < 10; i++) {
			pass(1_000);
			expect(clock()).toBeGreaterThan(before);
			before = clock();
		}
		expect(before - began).toBe(70_000);
		expect(warned).toEqual([expect.stringContaining("set back")]);
	});

	it("follows a clock that is set forward, and says that sessions may have ended by it", () => {
		const { clock, set, warned } = machine();
		const began = clock();
		set(8 * 86_400_000);
		expect(clock() - began).toBe(8 * 86_400_000);
		expect(warned).toEqual([expect.stringContaining("set forward")]);
	});

	it("says nothing of what a time server does every day", () => {
		const { clock, set, pass, warned } = machine();
		clock();
		for (const by of [-400, 300, -20_000, 20_000]) {
			set(by);
			pass(1_000);
			clock();
		}
		expect(warned).toEqual([]);
	});

	it("is the machine's again once that has caught up", () => {
		const { clock, pass, set, warned } = machine();
		clock();
		set(-120_000);
		clock();
		set(120_000);
		pass(5_000);
		const at = clock();
		set(-120_000);
		clock();
		expect(at).toBe(Date.parse("2026-11-01T12:00:05Z"));
		expect(warned).toHaveLength(2);
	});
});
