import { cpSync, mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { afterEach, describe, expect, test } from "vitest";
import { CHECKOUT, docker, mlgate, mustRun, NAME, run, STACK, stackPort } from "../support/mlgate.ts";

afterEach(async () => {
	await mustRun(["up", "--yes"]);
});

/** The three lines every failure ends with. */
function expectProblem(
	said: { stdout: string; code: number },
	code: number,
): { code: string; what: string; fix: string } {
	expect(said.code).toBe(code);
	const { error } = JSON.parse(said.stdout);
	expect(error.what).toBeTruthy();
	expect(error.fix).toBeTruthy();
	return error;
}

describe("bad input and bad luck", () => {
	test("a port in use is named before anything is touched", async () => {
		const before = await docker("ps", "-q", "--no-trunc", "--filter", `label=mlgate.stack=${NAME}`);
		const port = await stackPort();
		const server = createServer().listen(0, "127.0.0.1");
		await wait(100);
		const address = server.address();
		const taken = typeof address === "object" && address !== null ? address.port : 0;
		try {
			await mustRun(["config", "set", "port", String(taken)]);
			const error = expectProblem(await mlgate(["up", "--yes", "--json"]), 3);
			expect(error.what + error.fix).toContain(String(taken));
			expect(await docker("ps", "-q", "--no-trunc", "--filter", `label=mlgate.stack=${NAME}`)).toBe(before);
		} finally {
			server.close();
			await mustRun(["config", "set", "port", String(port)]);
		}
	});

	test("a setting that does not exist, or makes no sense, is refused with the nearest one and nothing written", async () => {
		const unknown = expectProblem(await mlgate(["config", "set", "mlflow.worker", "3", "--json"]), 2);
		expect(unknown.what + unknown.fix).toContain("mlflow.workers");
		const wrong = expectProblem(await mlgate(["config", "set", "port", "eighty", "--json"]), 2);
		expect(wrong.what).toContain("port");
	});

	test("a wrong passphrase ends with 3, says so, and changes nothing", async () => {
		const error = expectProblem(
			await mlgate(["up", "--yes", "--json"], { env: { PULUMI_CONFIG_PASSPHRASE: "not the one" } }),
			3,
		);
		expect(error.what + error.fix).toMatch(/passphrase/i);
	});

	test("another checkout with settings of its own does not take the stack of the same name", async () => {
		const copy = mkdtempSync(join(tmpdir(), "mlgate-test-checkout-"));
		const own = new Set([".git", ".mlgate", "node_modules"].map((name) => join(CHECKOUT, name)));
		const ids = () => docker("ps", "-q", "--no-trunc", "--filter", `label=mlgate.stack=${NAME}`);
		const before = await ids();
		try {
			cpSync(CHECKOUT, copy, { recursive: true, filter: (path) => !own.has(path) });
			rmSync(join(copy, `Pulumi.${STACK}.yaml`));
			symlinkSync(join(CHECKOUT, "node_modules"), join(copy, "node_modules"));
			const there = (...args: string[]) =>
				run("node", [join(copy, "ops", "mlgate.mjs"), ...args, "--stack", STACK]);
			expect((await there("config", "set", "mlflow.threads", "5")).code).toBe(0);
			const error = expectProblem(await there("up", "--yes", "--json"), 3);
			expect(error.code).toBe("STACK_ELSEWHERE");
			expect(await ids()).toBe(before);
		} finally {
			rmSync(copy, { recursive: true, force: true });
		}
	});

	test("two ups at once: one works, the other ends with 4 and says who is at it", async () => {
		const first = mlgate(["up", "--yes"]);
		await wait(1500);
		const error = expectProblem(await mlgate(["up", "--yes", "--json"]), 4);
		expect(error.what).toMatch(/up/);
		expect((await first).code).toBe(0);
	});

	test("Ctrl-C in the middle ends with 130, and the next up goes through", async () => {
		await mustRun(["destroy", "--yes"]);
		const ended = await mlgate(["up", "--yes"], { interruptAfter: 8000 });
		expect(ended.code).toBe(130);
	});

	test("an up that was killed half-way does not stand in the way of the next", async () => {
		await mustRun(["destroy", "--yes"]);
		let pid = 0;
		const running = mlgate(["up", "--yes"], {
			onStart: (started) => {
				pid = started;
			},
		});
		await wait(9000);
		// The whole family: this is what a lost terminal or the kernel's memory killer does.
		const children = (await import("../support/processes.ts")).descendants(pid);
		for (const child of [...children, pid]) {
			try {
				process.kill(child, "SIGKILL");
			} catch {
				// It was quicker.
			}
		}
		await running;
		expect(await mlgate(["up", "--yes"])).toMatchObject({ code: 0 });
	});

	test("an unknown command and an unknown option end with 2 and name the nearest", async () => {
		const command = await mlgate(["stauts"]);
		expect(command.code).toBe(2);
		expect(command.stderr).toContain("status");
		const option = await mlgate(["status", "--jsn"]);
		expect(option.code).toBe(2);
		expect(option.stderr).toContain("--json");
	});

	test("destroy wants the stack's name when nobody said --yes", async () => {
		const refused = await mlgate(["destroy"], { input: "something else\n" });
		expect(refused.code).toBe(6);
		expect((await mlgate(["status"])).code).toBe(0);
	});
});
