import { spawn } from "node:child_process";
import { once } from "node:events";
import { PassThrough } from "node:stream";
import { text } from "node:stream/consumers";
import { describe, expect, test } from "vitest";
import { createReport } from "../../../ops/lib/report.ts";
import { sleep } from "../../../ops/lib/sleep.ts";
import { FIXTURE, newCheckout } from "./spawned.ts";

function recorded(options: { heartbeatMs?: number } = {}) {
	const stream = new PassThrough() as unknown as NodeJS.WriteStream & PassThrough;
	const log: string[] = [];
	const report = createReport({ stream, log: (text) => log.push(text), ...options });
	return {
		report,
		log,
		lines: () =>
			String((stream as PassThrough).read() ?? "")
				.trim()
				.split("\n"),
	};
}

describe("without a terminal", () => {
	test("a step is a plain line at its start and one with its time at its end", async () => {
		const { report, lines } = recorded();
		expect(await report.step("Building", async () => 42)).toBe(42);
		const [start, end] = lines();
		expect(start).toBe("Building ...");
		expect(end).toMatch(/^Building: done \(0\.\d s\)$/);
	});

	test("no line has an escape sequence", async () => {
		const { report, lines } = recorded();
		await report.step("Building", async ({ detail }) => detail("x"));
		report.note("A note");
		expect(lines().join("")).not.toContain("\u001b");
	});

	test("a long step says that it is at work, with the latest detail", async () => {
		const { report, lines } = recorded({ heartbeatMs: 40 });
		await report.step("Building", async ({ detail }) => {
			detail("line 1");
			detail("line 2");
			await sleep(100);
		});
		expect(
			lines().filter((line) => /^Building \.\.\. 0\.\d s, now: line 2$/.test(line)).length,
		).toBeGreaterThan(0);
	});

	test("a failed step says so and passes the error on", async () => {
		const { report, lines } = recorded();
		const failing = report.step("Building", async () => {
			throw new Error("no disk");
		});
		await expect(failing).rejects.toThrow("no disk");
		expect(lines().at(-1)).toMatch(/^Building: failed \(/);
	});
});

test("the log has every detail, whether the terminal shows it or not", async () => {
	const { report, log } = recorded();
	await report.step("Building", async ({ detail }) => {
		detail("line 1");
		detail("line 2");
	});
	report.log("for the log alone");
	expect(log).toEqual([
		"begin: Building",
		"line 1",
		"line 2",
		expect.stringMatching(/^done: Building \(/),
		"for the log alone",
	]);
});

/** In a real terminal: util-linux's `script` gives the program one. */
async function inTerminal(args: readonly string[]): Promise<string> {
	const command = [process.execPath, FIXTURE, ...args].map((word) => `'${word}'`).join(" ");
	const child = spawn("script", ["-qec", command, "/dev/null"], {
		env: { ...process.env, TERM: "xterm", CI: "", CHECKOUT: newCheckout() },
		stdio: ["pipe", "pipe", "inherit"],
	});
	const output = await text(child.stdout);
	expect(child.exitCode ?? (await once(child, "exit"))[0]).toBe(0);
	return output;
}

test("on a terminal, steps side by side share one spinner and leave one line each", async () => {
	const output = await inTerminal(["parallel"]);
	expect(output).toMatch(/⠋|⠙|⠹/);
	expect(output.match(/✔.*First \(\d\.\d s\)/g)).toHaveLength(1);
	expect(output.match(/✔.*Second \(\d\.\d s\)/g)).toHaveLength(1);
	expect(output).toContain("A note in between");
});
