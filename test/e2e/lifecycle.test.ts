import { beforeAll, describe, expect, test } from "vitest";
import { logKeptRun } from "../support/kept-run.ts";
import { docker, mlgate, mustAnswer, mustRun, NAME, stackPort, token } from "../support/mlgate.ts";

let expectRunKept: () => Promise<void>;

beforeAll(async () => {
	const uri = `http://localhost:${await stackPort()}`;
	const editor = await token("editor", "lifecycle");
	expectRunKept = await logKeptRun(uri, editor, "lifecycle");
});

/** Container ids by name: they tell whether something was replaced. */
async function containers(): Promise<string> {
	return docker(
		"ps",
		"-a",
		"--no-trunc",
		"--filter",
		`label=mlgate.stack=${NAME}`,
		"--format",
		"{{.Names}} {{.ID}}",
	);
}

describe("a stack's life", () => {
	test("a second up changes nothing and says so", async () => {
		const before = await containers();
		const up = await mustRun(["up", "--yes"]);
		expect(await containers()).toBe(before);
		expect(up.stdout + up.stderr).toMatch(/nothing to change|unchanged/i);
	});

	test.each(["door", "mlflow", "minio", "postgres"])(
		"docker stop %s: status ends with 5 and names it, up brings it back with its data",
		async (part) => {
			await docker("stop", `${NAME}-${part}`);
			const status = await mlgate(["status"]);
			expect(status.code).toBe(5);
			expect(status.stdout).toMatch(new RegExp(`${part}.*(stopped|exited)`, "i"));
			await mustRun(["up", "--yes"]);
			expect((await mlgate(["status"])).code).toBe(0);
			await expectRunKept();
		},
	);

	test("docker kill of the database loses nothing", async () => {
		await docker("kill", "-s", "KILL", `${NAME}-postgres`);
		await mustRun(["up", "--yes"]);
		await expectRunKept();
	});

	test("down stops everything but the keeper, status says stopped, up brings the run back", async () => {
		await mustRun(["down"]);
		const running = await docker("ps", "--filter", `label=mlgate.stack=${NAME}`, "--format", "{{.Names}}");
		expect(running).toBe(`${NAME}-keeper`);
		const status = await mlgate(["status", "--json"]);
		expect(status.code).toBe(5);
		expect(JSON.parse(status.stdout).state ?? JSON.parse(status.stdout).verdict).toBe("stopped");
		await mustRun(["up", "--yes"]);
		await expectRunKept();
	});

	test("Postgres and MinIO were always stopped with grace", async () => {
		const log = await docker("logs", "--tail", "2000", `${NAME}-postgres`).catch(() => "");
		await mustRun(["down"]);
		const codes = await docker(
			"inspect",
			"--format",
			"{{.Name}} {{.State.ExitCode}}",
			...["postgres", "minio", "mlflow", "door"].map((part) => `${NAME}-${part}`),
		);
		expect(codes).not.toMatch(/ 137/);
		await mustRun(["up", "--yes"]);
		expect(log).not.toContain("PANIC");
	});

	test("destroy keeps the data volumes, and the next up finds every run", async () => {
		// Somebody else's container on the network for clients is in nobody's way, and goes on.
		const image = await docker("inspect", `${NAME}-keeper`, "--format", "{{.Image}}");
		const guest = `${NAME}-guest`;
		await docker(
			...["run", "--detach", "--name", guest, "--network", `${NAME}-clients`],
			...["--entrypoint", "sleep", image, "infinity"],
		);
		await mustRun(["destroy", "--yes"]);
		expect(await docker("inspect", guest, "--format", "{{.State.Running}} {{.RestartCount}}")).toBe("true 0");
		await docker("rm", "--force", guest);
		expect(
			await docker(
				"volume",
				"ls",
				"-q",
				"--filter",
				`label=mlgate.stack=${NAME}`,
				"--filter",
				"label=mlgate.data=true",
			),
		).not.toBe("");
		await mustRun(["up", "--yes"]);
		await expectRunKept();
	});

	test("a state file that is lost is no data lost", async () => {
		const status = await mustAnswer(["status"]);
		expect(status).toBeDefined();
		const { rm } = await import("node:fs/promises");
		const { CHECKOUT, STACK } = await import("../support/mlgate.ts");
		await rm(`${CHECKOUT}/.mlgate/state/.pulumi/stacks/mlgate/${STACK}.json`);
		await rm(`${CHECKOUT}/.mlgate/state/.pulumi/stacks/mlgate/${STACK}.json.bak`, { force: true });
		await mustRun(["up", "--yes"]);
		await expectRunKept();
	});
});
