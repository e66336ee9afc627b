import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { median } from "../../bench/frame/measure.ts";
import { readmeTable, results } from "../../bench/frame/results.ts";
import { alone, difference, ratio } from "../../bench/frame/rows.ts";

const file = (name: string) => readFileSync(new URL(`../../../${name}`, import.meta.url), "utf8");

describe("the results of the bench", () => {
	test("are what the README tells", () => {
		const block = /<!-- performance -->\n([\s\S]*?)\n<!-- \/performance -->/.exec(file("README.md"))?.[1];
		expect(block).toBe(readmeTable(file("test/bench/RESULTS.md")));
	});

	test("name both figures, what they make, what is wanted, and whether that is so", () => {
		const other = { name: "stock", value: 40 };
		expect(ratio("down", "MB/s", 100, other, { atLeast: 2 })).toEqual({
			what: "down",
			door: "100 MB/s",
			against: "stock 40 MB/s",
			result: "x 2.5",
			wanted: "at least 2",
			met: true,
		});
		expect(difference("first byte", "ms", 61, other, { atMost: 20 })).toMatchObject({
			result: "+21 ms",
			wanted: "at most 20 ms",
			met: false,
		});
		expect(alone("files", "MiB", 0.004, { atMost: 0 })).toMatchObject({ result: "0.004 MiB", met: false });
		expect(ratio("never answered", "", Number.NaN, other, { atMost: 1 }).met).toBe(false);
	});

	test("reach the README where something is wanted, with what is missed", () => {
		const machine = {
			cores: 2,
			model: "m",
			memory: "",
			kernel: "",
			system: "",
			node: "",
			mlflow: "",
			load: 0,
		};
		const at = { ...machine, at: "2026-11-27T12:00:00Z" };
		const rows = [
			ratio("one", "s", 1, { name: "stock", value: 2 }, { atMost: 0.6 }),
			ratio("two", "s", 1, { name: "stock", value: 2 }),
			ratio("three", "s", 1, { name: "stock", value: 2 }, { atMost: 0.4 }),
		];
		const text = results([{ title: "T", rows }], { before: at, after: at, minutes: 3 });
		expect(readmeTable(text).split("\n").slice(2)).toEqual([
			"| one | 1 s | stock 2 s | x 0.5 | at most 0.6 |",
			"| three | 1 s | stock 2 s | x 0.5 | at most 0.4: **missed** |",
		]);
	});
});

test("the median of an even number of figures lies between the two in the middle", () => {
	expect([median([9, 1, 5]), median([4, 1, 9, 2]), median([])]).toEqual([5, 3, Number.NaN]);
});
