import { existsSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { begin, fixture, logsOf, MAIN, newCheckout } from "./spawned.ts";

const run = (args: readonly string[], checkout = newCheckout()) => fixture(checkout, args).ended;
const locksOf = (checkout: string) => readdirSync(join(checkout, ".mlgate", "locks"));

describe("the answer", () => {
	test("is alone on stdout; progress is on stderr", async () => {
		const { code, stdout, stderr } = await run(["answer"]);
		expect(code).toBe(0);
		expect(stdout).toMatch(/^eyJ\S+\n$/);
		expect(stderr).toContain("Working: done");
		expect(stderr).toContain("A note");
	});

	test("is one JSON document with --json, wherever the option stands", async () => {
		for (const args of [
			["answer", "--json", "--count", "3"],
			["--json", "answer", "--count", "3"],
		]) {
			const { stdout } = await run(args);
			expect(JSON.parse(stdout)).toMatchObject({ stack: "local", count: 3 });
		}
	});

	test("may be bad news: printed, and then the exit code of its kind", async () => {
		const { code, stdout } = await run(["sick", "--json"]);
		expect(code).toBe(5);
		expect(JSON.parse(stdout)).toEqual({ verdict: "unhealthy" });
	});

	test("of a command in a group", async () => {
		const { stdout } = await run(["things", "add", "--json"]);
		expect(JSON.parse(stdout)).toEqual({ added: true });
	});

	test("ends quietly when nobody reads on", async () => {
		const { child, ended } = fixture(newCheckout(), ["endless"]);
		child.stdout?.once("data", () => child.stdout?.destroy());
		expect(await ended).toMatchObject({ code: 0, stderr: "" });
	});
});

describe("a known error", () => {
	test("says what, why and what to do, the cause last, and ends with the code of its kind", async () => {
		const checkout = newCheckout();
		const { code, stdout, stderr } = await run(["refuse"], checkout);
		expect(code).toBe(3);
		expect(stdout).toBe("");
		const lines = stderr.trim().split("\n");
		expect(lines.slice(0, 3)).toEqual([
			"Error: It is refused.",
			"Why: A test says so.",
			"Do this: npm start",
		]);
		expect(lines.at(-1)).toBe("Cause: the deepest cause");
		expect(stderr).not.toContain("    at ");
		expect(locksOf(checkout)).toEqual([]);
	});

	test("is a JSON document with --json", async () => {
		const { code, stdout } = await run(["refuse", "--json"]);
		expect(code).toBe(3);
		expect(JSON.parse(stdout)).toEqual({
			error: { code: "TEST_REFUSED", what: "It is refused.", why: "A test says so.", fix: "npm start" },
		});
	});

	test("ends with the last lines of the part that it is about", async () => {
		const { code, stderr } = await run(["die", "heart", "lung"]);
		expect(code).toBe(5);
		expect(stderr.trimEnd().split("\n").slice(-3, -1)).toEqual([
			"The last lines of heart and lung:",
			"  goodbye",
		]);
		const { error } = JSON.parse((await run(["die", "--json"])).stdout);
		expect(error.said).toMatchObject({ by: "nobody", lines: ["goodbye", expect.anything()] });
	});

	test("refuses one of several words that it does not know, and names those it does", async () => {
		const { code, stderr } = await run(["die", "heart", "spleen"]);
		expect(code).toBe(2);
		expect(stderr).toMatch(/spleen.*heart, lung/);
	});

	test("gives advice for the stack it was about", async () => {
		const { stderr } = await run(["refuse", "--stack", "other"]);
		expect(stderr).toContain("Do this: npx mlgate --stack other up");
	});
});

describe("an unknown error", () => {
	test("is short, names the log, and leaves its trace there alone", async () => {
		const checkout = newCheckout();
		const { code, stderr } = await run(["crash"], checkout);
		expect(code).toBe(1);
		expect(stderr).toContain("something nobody thought of");
		expect(stderr).not.toContain("    at ");
		const [log] = logsOf(checkout);
		expect(stderr).toContain(`Log: ${join(checkout, ".mlgate", "logs", log?.name ?? "")}`);
		expect(log?.text).toContain("    at ");
		expect(log?.text).toContain("exit 1");
		expect(locksOf(checkout)).toEqual([]);
	});

	test("is a JSON document with --json", async () => {
		const { stdout } = await run(["crash", "--json"]);
		expect(JSON.parse(stdout).error).toMatchObject({
			code: "UNEXPECTED",
			why: "something nobody thought of",
		});
	});
});

describe("wrong usage ends 2 and names the nearest known word", () => {
	test.each([
		[["anser"], "Unknown command 'anser'.", "answer"],
		[["answer", "--jsno"], "Unknown option '--jsno'.", "--json"],
		[["answer", "--cuont", "3"], "Unknown option '--cuont'.", "--count"],
		[["things", "ad"], "Unknown command 'ad'.", "add"],
	])("%j", async (args, what, nearest) => {
		const { code, stdout, stderr } = await run(args);
		expect(code).toBe(2);
		expect(stdout).toBe("");
		expect(stderr).toContain(`Error: ${what}`);
		expect(stderr).toContain(`Did you mean ${nearest}?`);
	});

	test("a value that the option refuses", async () => {
		const { code, stderr } = await run(["answer", "--count", "10"]);
		expect(code).toBe(2);
		expect(stderr).toContain("It must be a whole number from 1 to 9.");
		expect(stderr).toContain("npx mlgate answer --help");
	});

	test("too many words, too few words", async () => {
		expect((await run(["answer", "more"])).code).toBe(2);
		expect((await run(["hold"])).code).toBe(2);
	});

	test("a stack name that could leave its folder", async () => {
		const { code, stderr } = await run(["answer", "--stack", "../../etc"]);
		expect(code).toBe(2);
		expect(stderr).toContain("cannot be the name of a stack");
	});

	test("as a JSON document with --json", async () => {
		const { code, stdout } = await run(["anser", "--json"]);
		expect(code).toBe(2);
		expect(JSON.parse(stdout).error).toMatchObject({ code: "USAGE", what: "Unknown command 'anser'." });
	});

	test("no command at all: the help, on stderr", async () => {
		const { code, stdout, stderr } = await run([]);
		expect(code).toBe(2);
		expect(stdout).toBe("");
		expect(stderr).toContain("Commands:");
	});
});

test("help is no error", async () => {
	const { code, stdout } = await run(["--help"]);
	expect(code).toBe(0);
	expect(stdout).toContain("answer");
});

test("a checkout that cannot be written to is a precondition", async () => {
	const folder = mkdtempSync(join(tmpdir(), "mlgate-test-"));
	const file = join(folder, "file");
	writeFileSync(file, "");
	const { code, stderr } = await run(["answer"], file);
	expect(code).toBe(3);
	expect(stderr).toContain("Cannot write to");
});

describe("the log", () => {
	test("is dated, named after the command, and has every step", async () => {
		const checkout = newCheckout();
		await run(["answer"], checkout);
		const [log] = logsOf(checkout);
		expect(log?.name).toMatch(/^\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d{3}Z-answer\.log$/);
		expect(log?.text).toMatch(/begin: Working\n.*done: Working/s);
		expect(log?.text).toContain("A note");
	});

	test("has neither the answer nor a token that a tool printed", async () => {
		const checkout = newCheckout();
		const { stdout } = await run(["answer"], checkout);
		const [log] = logsOf(checkout);
		expect(log?.text).toContain("a tool printed [token]");
		expect(log?.text).not.toContain(stdout.trim());
	});

	test("has no option's value", async () => {
		const checkout = newCheckout();
		await run(["answer", "--count", "7"], checkout);
		const [log] = logsOf(checkout);
		expect(log?.text).toContain("mlgate answer --count\n");
	});
});

describe("a signal", () => {
	test.each(["SIGINT", "SIGTERM"] as const)(
		"%s: children are told once and end, then the lock is free",
		async (signal) => {
			const checkout = newCheckout();
			const marks = newCheckout();
			const { child, ended, said } = fixture(checkout, ["hold", marks]);
			await said("holding");
			expect(locksOf(checkout)).toEqual(["local.lock"]);
			// As one Ctrl-C under npm: it comes more than once.
			child.kill(signal);
			child.kill(signal);
			const { code, stderr } = await ended;
			expect(code).toBe(130);
			expect(stderr).toContain("`hold` was interrupted.");
			expect(readFileSync(join(marks, "child"), "utf8")).toBe("ended");
			expect(existsSync(join(marks, "command"))).toBe(true);
			expect(locksOf(checkout)).toEqual([]);
		},
	);

	test("a command that does not listen is left after its grace", async () => {
		const checkout = newCheckout();
		const { child, ended, said } = fixture(checkout, ["stubborn"], { GRACE_MS: "300" });
		await said("holding");
		child.kill("SIGINT");
		expect((await ended).code).toBe(130);
		expect(locksOf(checkout)).toEqual([]);
	});

	test("with --json the interruption is the document", async () => {
		const { child, ended, said } = fixture(newCheckout(), ["hold", newCheckout(), "--json"]);
		await said("holding");
		child.kill("SIGINT");
		expect(JSON.parse((await ended).stdout).error.code).toBe("INTERRUPTED");
	});
});

describe("the real command line", () => {
	test("--help names every command", async () => {
		const { code, stdout } = await begin(MAIN, ["--help"]).ended;
		expect(code).toBe(0);
		for (const name of [
			"up",
			"preview",
			"status",
			"doctor",
			"why",
			"logs",
			"backup",
			"backups",
			"restore",
			"down",
			"destroy",
			"users",
			"tokens",
			"config",
			"train",
		]) {
			expect(stdout).toMatch(new RegExp(`^  ${name} `, "m"));
		}
	});

	test("every command takes --json, --stack and --yes", async () => {
		const { stdout } = await begin(MAIN, ["--help"]).ended;
		const names = [...stdout.matchAll(/^ {2}(\w+) \[options\]/gm)].map(([, name]) => name as string);
		expect(names.length).toBeGreaterThan(9);
		const helps = await Promise.all(names.map((name) => begin(MAIN, [name, "--help"]).ended));
		for (const help of helps) {
			for (const option of ["--json", "--stack <name>", "--yes"]) expect(help.stdout).toContain(option);
		}
	}, 60_000);
});
