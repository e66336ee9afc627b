import { beforeAll, describe, expect, test } from "vitest";
import { python } from "../support/client.ts";
import { docker, mlgate, mustAnswer, mustRun, NAME, stackPort, token } from "../support/mlgate.ts";

let uri: string;
let editor: string;
let runId: string;

beforeAll(async () => {
	uri = `http://localhost:${await stackPort()}`;
	editor = await token("editor", "lifecycle");
	const ended = await python(
		`
import mlflow
mlflow.set_experiment("lifecycle")
with mlflow.start_run() as run:
    mlflow.log_metric("kept", 42)
    mlflow.log_text("still here", "note.txt")
print(run.info.run_id)
`,
		{ MLFLOW_TRACKING_URI: uri, MLFLOW_TRACKING_TOKEN: editor },
	);
	runId = ended.stdout.trim().split("\n").at(-1) ?? "";
	expect(runId).toMatch(/^[0-9a-f]{32}$/);
});

/** The run and its artifact, read back through the door. */
async function expectRunKept(): Promise<void> {
	const headers = { authorization: `Bearer ${editor}` };
	const run = await fetch(`${uri}/api/2.0/mlflow/runs/get?run_id=${runId}`, { headers });
	expect(run.status).toBe(200);
	expect(JSON.stringify(await run.json())).toContain('"key":"kept"');
	const note = await fetch(`${uri}/get-artifact?path=note.txt&run_uuid=${runId}`, { headers });
	expect(await note.text()).toBe("still here");
}

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
