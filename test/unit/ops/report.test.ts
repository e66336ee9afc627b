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
		expect(end).toMatch(/^Building: done \(\d+ ms\)$/);
	});

	test("no line has an escape sequence or no end, whatever a tool prints", async () => {
		const { report, lines, log } = recorded({ heartbeatMs: 20 });
		await report.step("Building", async ({ detail }) => {
			detail(`\u001b[91m+ \u001b[0m${"x".repeat(500)}`);
			await sleep(60);
		});
		const said = lines();
		expect(said.some((line) => line.includes("now: + xxx"))).toBe(true);
		expect(Math.max(...said.map((line) => line.length))).toBeLessThan(150);
		expect([...said, ...log].join("")).not.toContain("\u001b");
		expect(log.join("")).toContain("x".repeat(500));
	});

	test("a long step says that it is at work, with the latest detail", async () => {
		const { report, lines } = recorded({ heartbeatMs: 40 });
		await report.step("Building", async ({ detail }) => {
			detail("line 1");
			detail("line 2");
			await sleep(100);
		});
		expect(
			lines().filter((line) => /^Building \.\.\. \d+ ms, now: line 2$/.test(line)).length,
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

/** In a real terminal: util-linux's `script` gives the program one, at first without a size. */
async function inTerminal(setup: string, args: readonly string[]): Promise<string> {
	const command = `${setup} ${[process.execPath, FIXTURE, ...args].map((word) => `'${word}'`).join(" ")}`;
	const child = spawn("script", ["-qec", command, "/dev/null"], {
		env: { ...process.env, TERM: "xterm", CI: "", CHECKOUT: newCheckout() },
		stdio: ["pipe", "pipe", "inherit"],
	});
	const output = await text(child.stdout);
	expect(child.exitCode ?? (await once(child, "exit"))[0]).toBe(0);
	return output;
}

test("on a terminal, steps side by side share one spinner and leave one line each", async () => {
	const output = await inTerminal("stty cols 100;", ["parallel"]);
	expect(output).toMatch(/⠋|⠙|⠹/);
	expect(output.match(/✔.*First \(\d+ ms\)/g)).toHaveLength(1);
	expect(output.match(/✔.*Second \(\d+ ms\)/g)).toHaveLength(1);
	expect(output).toContain("A note in between");
});

test("a terminal without a width gets plain lines", async () => {
	const output = await inTerminal("", ["parallel"]);
	expect(output).toContain("First ...");
	expect(output).not.toMatch(/⠋|✔/);
});
