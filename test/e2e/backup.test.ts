import { appendFileSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { python } from "../support/client.ts";
import { killedAt } from "../support/killed.ts";
import { CHECKOUT, docker, mlgate, mustAnswer, mustRun, NAME, stackPort, token } from "../support/mlgate.ts";

const FOLDER = join(CHECKOUT, ".mlgate", "test-backups");
const at = ["--folder", FOLDER];

let port: number;
let uri: string;
let editor: string;
let runId: string;
let id: string;

/** A run with everything, a model, a user and a token. */
beforeAll(async () => {
	rmSync(FOLDER, { recursive: true, force: true });
	port = await stackPort();
	uri = `http://localhost:${port}`;
	editor = await token("editor", "outlives the stack");
	await mustRun(["users", "add", "restored-rita", "--role", "viewer", "--password-stdin"], {
		input: "seven green bottles\n",
	});
	const ended = await python(
		`
import mlflow
from mlflow.tracking import MlflowClient
mlflow.set_experiment("backup")
with mlflow.start_run() as run:
    for step in range(50):
        mlflow.log_metric("loss", 1 / (step + 1), step=step)
    mlflow.log_text("still here", "notes/日本.txt")
    mlflow.log_text("flavors: {}", "m/MLmodel")
client = MlflowClient()
client.create_registered_model("backed-up")
client.create_model_version("backed-up", f"{run.info.artifact_uri}/m", run.info.run_id)
print(run.info.run_id)
`,
		{ MLFLOW_TRACKING_URI: uri, MLFLOW_TRACKING_TOKEN: editor },
	);
	expect(ended.stderr).not.toContain("Traceback");
	runId = ended.stdout.trim().split("\n").at(-1) ?? "";
	id = (await mustAnswer(["backup", ...at])).id;
}, 600_000);

afterAll(() => rmSync(FOLDER, { recursive: true, force: true }));

/** The run, its 50 values, its artifact and its model version, by the token from before. */
async function expectEverything(): Promise<void> {
	const headers = { authorization: `Bearer ${editor}` };
	const ask = async (path: string) => {
		const answer = await fetch(`${uri}${path}`, { headers });
		expect([path, answer.status]).toEqual([path, 200]);
		return await answer.text();
	};
	const api = "/api/2.0/mlflow";
	const history = JSON.parse(await ask(`${api}/metrics/get-history?run_id=${runId}&metric_key=loss`));
	expect(history.metrics).toHaveLength(50);
	expect(await ask(`/get-artifact?path=${encodeURIComponent("notes/日本.txt")}&run_uuid=${runId}`)).toBe(
		"still here",
	);
	expect(await ask("/model-versions/get-artifact?path=MLmodel&name=backed-up&version=1")).toBe("flavors: {}");
}

const problem = (ended: { stdout: string }) => JSON.parse(ended.stdout).error;

describe("a backup", () => {
	test("is listed, with its size and when it was verified", async () => {
		const { backups } = await mustAnswer(["backups", ...at]);
		expect(backups).toHaveLength(1);
		expect(backups[0]).toMatchObject({ id, verified: expect.any(String), stack: expect.any(String) });
		expect(backups[0].objects).toBeGreaterThanOrEqual(2);
		const page = await mustRun(["backups", ...at]);
		expect(page.stdout).toContain(id);
	});

	test("holds no secret of a store and no passphrase", async () => {
		const secrets = [
			readFileSync(join(CHECKOUT, ".mlgate", "passphrase"), "utf8").trim(),
			await docker("exec", `${NAME}-postgres`, "cat", "/run/secrets/door-password"),
			await docker("exec", `${NAME}-minio`, "cat", "/run/secrets/mlflow-secret-key"),
		];
		const files = readdirSync(join(FOLDER, id), { recursive: true, withFileTypes: true }).filter((one) =>
			one.isFile(),
		);
		for (const file of files) {
			const text = readFileSync(join(file.parentPath, file.name), "latin1");
			expect(secrets.filter((secret) => text.includes(secret))).toEqual([]);
		}
	});
});

describe("a restore that is refused", () => {
	test("over a stack with data: exit 6 with what it holds, whatever --yes says", async () => {
		const ended = await mlgate(["restore", id, ...at, "--yes", "--json"]);
		expect(ended.code).toBe(6);
		expect(problem(ended).why).toMatch(/\d+ runs?/);
		expect(problem(ended).fix).toContain(`--replace ${NAME}`);
		const wrong = await mlgate(["restore", id, ...at, "--replace", "another", "--json"]);
		expect(wrong.code).toBe(6);
		await expectEverything();
	});

	test("of an id that there is not: exit 2", async () => {
		const ended = await mlgate(["restore", "e2e-20200101-000000", ...at, "--json"]);
		expect(ended.code).toBe(2);
		expect(problem(ended).why).toContain(id);
	});

	test("of a damaged file: exit 3 with its name, and `backups --verify` ends with 5", async () => {
		const file = join(FOLDER, id, "door.dump");
		const content = readFileSync(file);
		appendFileSync(file, "x");
		try {
			const ended = await mlgate(["restore", id, ...at, "--replace", NAME, "--json"]);
			expect(ended.code).toBe(3);
			expect(problem(ended)).toMatchObject({
				code: "BACKUP_DAMAGED",
				why: expect.stringContaining("door.dump"),
			});
			const look = await mlgate(["backups", "--verify", ...at]);
			expect(look.code).toBe(5);
			expect(look.stdout).toContain("DAMAGED");
		} finally {
			writeFileSync(file, content);
		}
		expect((await mlgate(["backups", "--verify", ...at])).code).toBe(0);
		await expectEverything();
	});
});

test("backup, destroy --volumes, up, restore: every table and object, and the tokens still work", async () => {
	await mustRun(["destroy", "--volumes", "--yes"]);
	await mustRun(["config", "set", "port", String(port)]);
	await mustRun(["up", "--yes"]);
	const fresh = await fetch(`${uri}/api/2.0/mlflow/runs/get?run_id=${runId}`, {
		headers: { authorization: `Bearer ${editor}` },
	});
	expect(fresh.status).toBe(401);

	const restored = await mustAnswer(["restore", id, ...at]);
	const manifest = JSON.parse(readFileSync(join(FOLDER, id, "manifest.json"), "utf8"));
	expect(restored.objects).toBe(manifest.objects.count);
	expect(restored.before).toBeUndefined();
	await expectEverything();
	expect((await mlgate(["status"])).code).toBe(0);
	const signIn = await fetch(`${uri}/api/2.0/mlflow/experiments/get?experiment_id=0`, {
		headers: {
			authorization: `Basic ${Buffer.from("restored-rita:seven green bottles").toString("base64")}`,
		},
	});
	expect(signIn.status).toBe(200);

	// Equal to the manifest by a second backup, which counts and hashes by itself. The door has been at work since.
	const again = await mustAnswer(["backup", ...at]);
	expect(again.databases.mlflow.tables).toEqual(manifest.databases.mlflow.tables);
	expect(again.objects.sha256).toBe(manifest.objects.sha256);
	for (const table of ["public.users", "public.signing_keys"])
		expect(again.databases.door.tables[table].rows).toBe(manifest.databases.door.tables[table].rows);
	expect(again.key.sha256).toBe(manifest.key.sha256);
}, 900_000);

test("a restore that is killed half-way is told, and goes on when it is run again, asking nothing", async () => {
	const wish = ["restore", id, ...at, "--replace", NAME];
	await killedAt(wish, "begin: Putting the database mlflow back");
	const status = await mlgate(["status", "--json"]);
	expect(status.code).toBe(5);
	expect(JSON.parse(status.stdout).cutOff).toMatchObject({ command: "restore", about: id });
	const again = await mustRun(["restore", id, ...at]);
	expect(again.stderr).toContain("was killed");
	await expectEverything();
	// What was there before the first attempt is kept.
	expect((await mustAnswer(["backups", ...at])).backups.length).toBeGreaterThanOrEqual(3);
}, 900_000);
