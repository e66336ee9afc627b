import { beforeAll, describe, expect, test } from "vitest";
import { logKeptRun } from "../support/kept-run.ts";
import { killedAt } from "../support/killed.ts";
import { docker, mlgate, mustRun, NAME, stackPort, token } from "../support/mlgate.ts";

let expectRunKept: () => Promise<void>;

beforeAll(async () => {
	const uri = `http://localhost:${await stackPort()}`;
	const editor = await token("editor", "killed");
	expectRunKept = await logKeptRun(uri, editor, "killed");
});

/** What was cut off is told by those who only look, too, and they change nothing about it. */
async function expectTold(command: string, step: string): Promise<void> {
	const status = await mlgate(["status", "--json"]);
	const { cutOff } = JSON.parse(status.stdout);
	expect(cutOff.command).toBe(command);
	const open = cutOff.steps.filter(({ outcome }: { outcome?: string }) => outcome === undefined);
	expect(open.map(({ title }: { title: string }) => title)).toEqual([step]);
}

const running = async () =>
	(await docker("ps", "--filter", `label=mlgate.stack=${NAME}`, "--format", "{{.Names}}")).split("\n").sort();

/** Each goes on from where the one before it was killed: together they are hardly more than one of its kind. */
describe("killed at every step, and run again", () => {
	test("down: in the end all is stopped but the keeper", async () => {
		for (const part of ["api", "door", "mlflow", "minio", "postgres"]) {
			await killedAt(["down"], `begin: Stopping ${part}`);
			await expectTold("down", `Stopping ${part}`);
		}
		const last = await mustRun(["down"]);
		expect(last.stderr).toContain('in the step "Stopping postgres"');
		expect(await running()).toEqual([`${NAME}-keeper`]);
		const codes = await docker(
			"inspect",
			"--format",
			"{{.State.ExitCode}}",
			...["postgres", "minio"].map((part) => `${NAME}-${part}`),
		);
		expect(codes).not.toContain("137");
	}, 600_000);

	test("up: in the end every part runs, and the run from before is there", async () => {
		await mustRun(["destroy", "--yes"]);
		const steps = [
			"creating network data",
			"creating container postgres",
			"creating container mlflow",
			"creating container door",
			"creating container api",
		];
		for (const text of steps) {
			// Comparing before that says what would be created.
			await killedAt(["up", "--yes"], "begin: Bringing the stack up", text);
			await expectTold("up", "Bringing the stack up");
		}
		await killedAt(["up", "--yes"], "begin: Making sure that every part answers");
		await expectTold("up", "Making sure that every part answers");
		const last = await mustRun(["up", "--yes"]);
		expect(last.stderr).toContain('in the step "Making sure that every part answers"');
		expect((await mlgate(["status"])).code).toBe(0);
		expect(await running()).toHaveLength(6);
		await expectRunKept();
	}, 900_000);

	test("restart: in the end every part has been restarted and answers", async () => {
		// One of each way: requests are held, nobody answers, another container answers.
		for (const part of ["postgres", "door", "api"]) {
			await killedAt(["restart", part], `begin: Restarting ${part}`);
			const { cutOff } = JSON.parse((await mlgate(["status", "--json"])).stdout);
			expect(cutOff).toMatchObject({ command: "restart" });
		}
		await mustRun(["up", "--yes"]);
		await mustRun(["restart"]);
		expect((await mlgate(["status"])).code).toBe(0);
		await expectRunKept();
	}, 900_000);

	test("a doctor's last word: nothing is left over", async () => {
		const { code, stdout } = await mlgate(["doctor", "--json"]);
		expect(code).toBe(0);
		const { checks } = JSON.parse(stdout);
		for (const name of ["drift from the program", "unfinished commands", "keeper"])
			expect(checks.find((check: { name: string }) => check.name === name).diagnoses).toEqual([]);
	});
});
