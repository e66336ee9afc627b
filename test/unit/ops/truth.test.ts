/** What the commands that tell the truth say where there is nothing, or nobody who answers. */
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { begin, MAIN } from "./spawned.ts";

const NOWHERE = ["--stack", "no-such-stack"];
const DEAF = { DOCKER_HOST: "unix:///nonexistent/docker.sock" };
const empty = () => mkdtempSync(join(tmpdir(), "mlgate-test-"));

async function answer(args: readonly string[], env: Record<string, string> = {}) {
	const { code, stdout } = await begin(MAIN, [...args, "--json"], env).ended;
	return { code, json: JSON.parse(stdout) };
}

describe("without an engine", () => {
	test("doctor says so first, looks at what it can, and ends with 5", async () => {
		const { code, json } = await answer(["doctor", ...NOWHERE], DEAF);
		expect(code).toBe(5);
		expect(json.checks[0]).toMatchObject({
			name: "engine",
			diagnoses: [{ level: "wrong", what: expect.stringContaining("/nonexistent/docker.sock") }],
		});
		expect(json.checks.find(({ name }: { name: string }) => name === "keeper").well).toContain("no engine");
	});

	test.each([["status"], ["why", "door"], ["backup"]])(
		"%s ends with 3 and the one thing to do",
		async (...args) => {
			const { code, json } = await answer([...args, ...NOWHERE], DEAF);
			expect(code).toBe(3);
			expect(json.error.fix).toBeTruthy();
		},
	);
});

describe("without a stack", () => {
	test("status ends with 5, and doctor finds nothing wrong with what is not there", async () => {
		expect(await answer(["status", ...NOWHERE])).toMatchObject({ code: 5, json: { verdict: "absent" } });
		const { json } = await answer(["doctor", ...NOWHERE]);
		const ill = json.checks.filter(({ diagnoses }: { diagnoses: { level: string }[] }) =>
			diagnoses.some(({ level }) => level === "wrong"),
		);
		// The machine's own troubles are none of this test's: its default port may be somebody's.
		const ofTheHost = ["port", "disk", "certificates", "passphrase"];
		expect(
			ill.map(({ name }: { name: string }) => name).filter((name: string) => !ofTheHost.includes(name)),
		).toEqual([]);
	});

	test("tailnet clean finds nothing to take out", async () => {
		expect(await answer(["tailnet", "clean", ...NOWHERE])).toEqual({
			code: 0,
			json: { removed: [], left: [] },
		});
	});

	test("backup ends with 3 and leaves nothing", async () => {
		const folder = empty();
		expect(await answer(["backup", ...NOWHERE, "--folder", folder])).toMatchObject({
			code: 3,
			json: { error: { code: "STACK_ABSENT" } },
		});
		expect(await answer(["backups", ...NOWHERE, "--folder", folder])).toMatchObject({
			code: 0,
			json: { backups: [], unusable: [] },
		});
	});

	test("why tells that there is no container", async () => {
		const { code, json } = await answer(["why", "door", ...NOWHERE]);
		expect(code).toBe(0);
		expect(json.state).toContain("absent");
		expect(json.fix).toBe("npx mlgate --stack no-such-stack up");
	});
});

describe("bad input", () => {
	test.each([
		[["why", "postgress"]],
		[["why"]],
		[["restore"]],
		[["restore", "../../etc/passwd"]],
		[["restore", "local-20200101-000000"]],
		[["backups", "local-20200101-000000"]],
		[["logs", "--grep", "("]],
		[["status", "--watch", "3"]],
	])("%j ends with 2 and says what would do", async (args) => {
		const { code, json } = await answer([...args, ...NOWHERE]);
		expect(code).toBe(2);
		expect(json.error.fix).toBeTruthy();
	});
});
