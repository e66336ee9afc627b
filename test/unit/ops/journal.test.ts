import { appendFileSync, mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { beginRun, cutOff, lastStep, readRuns } from "../../../ops/lib/journal.ts";
import { fixture, newCheckout } from "./spawned.ts";

const newFolder = () => mkdtempSync(join(tmpdir(), "mlgate-journal-"));
const journalOf = (checkout: string) => readRuns(join(checkout, ".mlgate", "journal"), "local");

describe("the journal", () => {
	test("has every step of a run with how it ended", () => {
		const folder = newFolder();
		const run = beginRun(folder, "local", "up");
		run.about("a thing");
		const outer = run.step("Outer");
		run.step("Inner")("failed");
		outer("done");
		run.end(5);
		expect(readRuns(folder, "local")).toEqual([
			expect.objectContaining({
				command: "up",
				about: "a thing",
				pid: process.pid,
				ended: { at: expect.any(String), code: 5 },
				steps: [
					expect.objectContaining({ title: "Outer", outcome: "done", ms: expect.any(Number) }),
					expect.objectContaining({ title: "Inner", outcome: "failed" }),
				],
			}),
		]);
	});

	test("of one stack says nothing about another", () => {
		const folder = newFolder();
		beginRun(folder, "local", "up").end(0);
		expect(readRuns(folder, "other")).toEqual([]);
	});

	test("goes on behind a line that a kill cut off", () => {
		const folder = newFolder();
		beginRun(folder, "local", "up").end(0);
		appendFileSync(join(folder, "local.jsonl"), '{"run":"x","at":"2026-');
		beginRun(folder, "local", "down").end(0);
		expect(readRuns(folder, "local").map(({ command }) => command)).toEqual(["up", "down"]);
	});

	test("a run that is still at work, or has ended, was not cut off", () => {
		const folder = newFolder();
		const run = beginRun(folder, "local", "up");
		expect(cutOff(readRuns(folder, "local"))).toBeUndefined();
		run.end(1);
		expect(cutOff(readRuns(folder, "local"))).toBeUndefined();
	});
});

describe("a command that is killed", () => {
	test("is told by the next one, with who began it and the step it was in; then it is over", async () => {
		const checkout = newCheckout();
		const { child, ended, said } = fixture(checkout, ["stuck"]);
		await said("Getting stuck");
		child.kill("SIGKILL");
		await ended;
		const killed = cutOff(journalOf(checkout));
		expect(killed && lastStep(killed)).toBe("Getting stuck");
		const next = await fixture(checkout, ["refuse"]).ended;
		expect(next.stderr).toContain("`stuck`");
		expect(next.stderr).toContain(`process ${child.pid}`);
		expect(next.stderr).toContain('in the step "Getting stuck"');
		expect((await fixture(checkout, ["refuse"]).ended).stderr).not.toContain("was killed");
	});

	test("is no cut off one if it ended by Ctrl-C, in order", async () => {
		const checkout = newCheckout();
		const { child, ended, said } = fixture(checkout, ["hold", newCheckout()]);
		await said("holding");
		child.kill("SIGINT");
		await ended;
		expect(journalOf(checkout).at(-1)).toMatchObject({ command: "hold", ended: { code: 130 } });
	});

	test("commands that only read write no journal", async () => {
		const checkout = newCheckout();
		await fixture(checkout, ["answer"]).ended;
		expect(journalOf(checkout)).toEqual([]);
	});
});
