/**
 * Docker's prune commands and the end of the engine itself, on an engine that is there for this alone. What prune
 * takes, `up` makes again; data is not among it.
 */
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { DATA_VOLUMES, hostName, LABEL, type Part } from "../../infra/contract.ts";
import { imageRef } from "../../infra/images.ts";
import { Checkout } from "../support/checkout.ts";
import { clientArgs } from "../support/client.ts";
import { backByItself, type Ended, RUNNING_PARTS } from "../support/mlgate.ts";
import { PrivateEngine } from "../support/private-engine.ts";

const STACK = "prune";
const NAME = `mlgate-${STACK}`;
const KEEPER = hostName.container(NAME, "keeper");
const IMAGES = [...RUNNING_PARTS, "keeper", "courier"] as const;
/** Of starting by itself. */
const PATIENCE_MS = 300_000;

let checkout: Checkout;
let engine: PrivateEngine;
let editor: string;
let logged: Logged;

beforeAll(async () => {
	checkout = await Checkout.copy([]);
	engine = await PrivateEngine.open(IMAGES);
	await up();
	editor = (await mustRun("tokens", "create", "--name", "prune", "--role", "editor")).stdout.trim();
	await client(LOG);
	logged = await read();
	expect(logged).toHaveLength(3);
	for (const run of logged) {
		expect(run.losses).toHaveLength(20);
		expect(Object.keys(run.artifacts)).toEqual(["note.txt", "weights.bin"]);
	}
});

afterAll(async () => {
	try {
		await engine?.close();
	} finally {
		await checkout?.remove();
	}
});

const mlgate = (...args: string[]): Promise<Ended> =>
	engine.run("node", [join(checkout.folder, "ops/mlgate.mjs"), ...args, "--stack", STACK]);

async function mustRun(...args: string[]): Promise<Ended> {
	const ended = await mlgate(...args);
	if (ended.code !== 0)
		throw new Error(`mlgate ${args.join(" ")} ended with ${ended.code}\n${ended.stdout}\n${ended.stderr}`);
	return ended;
}

async function up(): Promise<Ended> {
	const ended = await mustRun("up", "--yes");
	process.stderr.write(`up: ${Math.round(ended.seconds)} s\n`);
	return ended;
}

type Logged = readonly {
	id: string;
	params: Record<string, string>;
	losses: readonly [step: number, value: number][];
	/** SHA-256 by path. */
	artifacts: Record<string, string>;
}[];

const LOG = `
import os, mlflow
mlflow.set_experiment("prune")
for number in range(3):
    with mlflow.start_run(run_name=f"run-{number}"):
        mlflow.log_param("window", 5 + number)
        for step in range(20):
            mlflow.log_metric("loss", 1 / (step + number + 1), step=step)
        mlflow.log_text("still here", "note.txt")
        with open("/tmp/weights.bin", "wb") as file:
            file.write(os.urandom(2_000_000))
        mlflow.log_artifact("/tmp/weights.bin")
`;

const READ = `
import hashlib, json, mlflow
client = mlflow.MlflowClient()
experiment = client.get_experiment_by_name("prune").experiment_id
def digest(run, path):
    with open(client.download_artifacts(run, path), "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()
print(json.dumps([{
    "id": run.info.run_id,
    "params": run.data.params,
    "losses": [[m.step, m.value] for m in client.get_metric_history(run.info.run_id, "loss")],
    "artifacts": {f.path: digest(run.info.run_id, f.path) for f in client.list_artifacts(run.info.run_id)},
} for run in client.search_runs([experiment], order_by=["attributes.run_name"])]))
`;

async function client(script: string): Promise<string> {
	const env = {
		MLFLOW_TRACKING_URI: "http://localhost:5000",
		MLFLOW_TRACKING_TOKEN: editor,
		MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR: "false",
	};
	const { code, stdout, stderr } = await engine.run("docker", clientArgs(Object.keys(env)), {
		input: script,
		env,
	});
	if (code !== 0) throw new Error(`the client ended with ${code}: ${stderr}`);
	return stdout;
}

const read = async (): Promise<Logged> => JSON.parse((await client(READ)).trim().split("\n").at(-1) ?? "");

async function expectEverythingThere(): Promise<void> {
	const { code, stdout } = await mlgate("status");
	expect(code, stdout).toBe(0);
	expect(await read()).toEqual(logged);
}

const lines = (text: string): string[] => text.split("\n").filter(Boolean).sort();

const volumes = async () => lines(await engine.docker("volume", "ls", "--quiet"));
const dataVolumes = async () =>
	lines(await engine.docker("volume", "ls", "--quiet", "--filter", `label=${LABEL.data}`));
const running = async () => lines(await engine.docker("ps", "--format", "{{.Names}}"));
const images = async () => lines(await engine.docker("images", "--format", "{{.Repository}}:{{.Tag}}"));

const DATA = DATA_VOLUMES.map((volume) => hostName.dataVolume(NAME, volume)).sort();

/**
 * Both of Docker's commands, each with something that it takes. Since Engine 23 `system prune` leaves volumes with a name
 * alone, and `volume prune` takes them with `--all` only, which older engines do not know.
 */
async function prune(...system: string[]): Promise<void> {
	const api = await engine.docker("version", "--format", "{{.Server.APIVersion}}");
	const isOld = Number(api.split(".")[1]) < 42;
	const unnamed = await engine.docker("volume", "create");
	await engine.docker("system", "prune", ...system, "--volumes");
	expect(await volumes()).not.toContain(unnamed);
	const decoy = await engine.docker("volume", "create", "decoy");
	expect(await volumes()).toContain(decoy);
	await engine.docker("volume", "prune", isOld ? "-f" : "-af");
	expect(await volumes()).not.toContain(decoy);
	expect(await dataVolumes()).toEqual(DATA);
}

/** Which container each part is, and since when it runs. */
const parts = async (): Promise<string> =>
	await engine.docker(
		...["inspect", "--format", "{{.Name}} {{.Id}} {{.State.StartedAt}}"],
		...RUNNING_PARTS.map((part: Part) => hostName.container(NAME, part)),
	);

describe("prune", () => {
	test("while the stack runs: nobody notices, and up restarts nothing", async () => {
		const before = await parts();
		await prune("-af");
		await expectEverythingThere();
		await up();
		expect(await parts()).toBe(before);
		await expectEverythingThere();
	});

	test("of a stack that is down takes its containers and images; up makes them again, and every run and artifact is there", async () => {
		await mustRun("down");
		expect(await running()).toEqual([KEEPER]);
		await prune("-af");
		expect(lines(await engine.docker("ps", "--all", "--format", "{{.Names}}"))).toEqual([KEEPER]);
		expect(await images()).toEqual([imageRef("keeper")]);
		await up();
		expect(await images()).toEqual(expect.arrayContaining(IMAGES.map((image) => imageRef(image))));
		await expectEverythingThere();
	});

	test("of a stack that is destroyed leaves its data, which the keeper holds", async () => {
		await mustRun("destroy", "--yes");
		expect(await running()).toEqual([KEEPER]);
		// The images have been built again once; that is enough.
		await prune("-f");
		expect(await volumes()).toEqual(DATA);
		await up();
		await expectEverythingThere();
	});
});

describe("the engine", () => {
	test("ended and started again: everything comes back by itself, and every run and artifact is there", async () => {
		const since = new Date().toISOString();
		const ids = async () => (await parts()).replaceAll(/ \S+$/gm, "");
		const before = await ids();
		await engine.end("SIGTERM");
		expect((await mlgate("status")).code).toBe(3);
		await engine.start();
		process.stderr.write(`back by itself: ${Math.round(await backByItself(mlgate, PATIENCE_MS))} s\n`);
		expect(await ids()).toBe(before);
		expect(await running()).toEqual(
			[KEEPER, ...RUNNING_PARTS.map((part: Part) => hostName.container(NAME, part))].sort(),
		);
		const said = await engine.run("docker", [
			...["logs", "--since", since, hostName.container(NAME, "postgres")],
		]);
		expect(said.stdout + said.stderr).not.toContain("was not properly shut down");
		await expectEverythingThere();
	});

	// Its containers outlive it. The next one stops them and, Engine 20.10 at least, takes them for stopped by hand:
	// what is `unless-stopped` waits for somebody to type `up`.
	test("killed and started again: the keeper comes back by itself and holds the data against prune; after up everything is there", async () => {
		await engine.end("SIGKILL");
		await engine.start();
		await keeperBack();
		await prune("-f");
		await up();
		await expectEverythingThere();
	});
});

/** The engine answers before it has started what it starts. */
async function keeperBack(): Promise<void> {
	for (const start = performance.now(); !(await running()).includes(KEEPER); await sleep(500))
		if (performance.now() - start > PATIENCE_MS) throw new Error("the keeper did not come back");
}
