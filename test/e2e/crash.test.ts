/**
 * Parts die without a word while people train: nothing that was acknowledged is lost, and nothing is there twice. And how
 * the door finds out what became of a create whose answer died.
 */
import { setTimeout as wait } from "node:timers/promises";
import { beforeAll, describe, expect, test } from "vitest";
import { hostName, type Part } from "../../infra/contract.ts";
import { underLoad } from "../support/load.ts";
import { docker, NAME, run, stackPort, token } from "../support/mlgate.ts";

let url: string;
let bearer: string;

beforeAll(async () => {
	url = `http://127.0.0.1:${await stackPort()}`;
	bearer = await token("editor", `crash-${Date.now()}`);
});

const container = (part: Part) => hostName.container(NAME, part);

async function healthy(part: Part): Promise<void> {
	for (let i = 0; i < 600; i++) {
		const state = await docker(
			"inspect",
			"-f",
			"{{.State.Status}} {{.State.Health.Status}}",
			container(part),
		);
		if (state === "running healthy") return;
		await wait(500);
	}
	throw new Error(`${part} did not become healthy`);
}

const post = (path: string, body: object) =>
	fetch(`${url}/api/2.0/mlflow/${path}`, {
		method: "POST",
		headers: { authorization: `Bearer ${bearer}`, "content-type": "application/json" },
		body: JSON.stringify(body),
	});

test("parts that die without a word under load: they come back by themselves, and no call fails", async () => {
	const { load } = await underLoad(url, bearer, async () => {
		for (const part of ["mlflow", "minio", "postgres", "door"] as const) {
			const pid = await docker("inspect", "-f", "{{.State.Pid}}", container(part));
			process.kill(Number(pid), "SIGKILL");
			await wait(2_000);
			await healthy(part);
			await wait(3_000);
		}
	});
	const { calls, runs, longest, ...wrong } = load;
	process.stderr.write(`crash: ${calls} calls, ${runs} runs, longest call ${longest} s\n`);
	expect(wrong).toEqual({ failed: [], lost: [], twice: [] });
	expect(calls).toBeGreaterThan(20);
});

describe("a create whose answer died with the door", () => {
	test("is answered with what was made, in MLflow's own words, and a second one makes another", async () => {
		const name = `creates-${Date.now()}`;
		const create = async (path: string, body: object) => {
			const answer = await post(path, body);
			// biome-ignore lint/suspicious/noExplicitAny: each create has a shape of its own
			return { status: answer.status, body: (await answer.json()) as any };
		};
		const tags = [{ key: "a", value: "b" }];
		const experiment = { name, tags };
		const made = await create("experiments/create", experiment);
		const run = {
			experiment_id: made.body.experiment_id,
			start_time: Date.now(),
			user_id: "ada",
			tags: [...tags, { key: "mlflow.user", value: "ada" }],
		};
		const first = await create("runs/create", run);
		const { run_id } = first.body.run.info;
		const model = { name, description: "of recipes", tags };
		const versioned = `${name}-v`;
		await create("registered-models/create", { name: versioned });
		const version = { name: versioned, source: `runs:/${run_id}/model`, run_id, description: "v", tags };
		// Logged to another run: one that is logged to is known to whoever asked for it.
		const other = await create("runs/create", { ...run, run_name: "other" });
		const model_json = JSON.stringify({
			...{ artifact_path: "m", flavors: {}, utc_time_created: "2026-11-27", model_uuid: name },
			run_id: other.body.run.info.run_id,
		});
		const all: [string, object, unknown][] = [
			["experiments/create", experiment, made],
			["runs/create", run, first],
			["registered-models/create", model, await create("registered-models/create", model)],
			["model-versions/create", version, await create("model-versions/create", version)],
		];
		const log = { run_id: other.body.run.info.run_id, model_json };
		all.push(["runs/log-model", log, await create("runs/log-model", log)]);

		// As if the door had died before it knew.
		await wait(1_000);
		const forget = "update creates set outcome = null where at > now() - interval '2 minutes'";
		const psql = ["psql", "-h", "/run/postgresql", "-U", "postgres", "-d", "door", "-c", forget];
		await docker("exec", container("postgres"), ...psql);
		await docker("restart", container("door"));
		await healthy("door");
		for (const [path, body, answer] of all) {
			expect(answer, path).toMatchObject({ status: 200 });
			expect(await create(path, body), path).toEqual(answer);
		}
		const again = await create("runs/create", run);
		expect(again.body.run.info.run_id).not.toBe(run_id);
		expect(await create("model-versions/create", version)).toMatchObject({
			body: { model_version: { version: "2" } },
		});
		expect(await create("experiments/create", experiment)).toMatchObject({
			status: 400,
			body: { error_code: "RESOURCE_ALREADY_EXISTS" },
		});
	});
});

describe("the door's role in MLflow's database", () => {
	/** As the door signs in there. */
	const asDoor = async (sql: string) => {
		const script = `
			import { readFileSync } from "node:fs";
			import pg from "pg";
			const url = new URL(process.env.DOOR_DATABASE_URL);
			const password = readFileSync(process.env.DOOR_DATABASE_PASSWORD_FILE, "utf8").trim();
			const { hostname: host, username: user } = url;
			const client = new pg.Client({ host, user, password, database: process.env.DOOR_MLFLOW_DATABASE });
			await client.connect();
			try {
				await client.query("set default_transaction_read_only = off");
				console.log(JSON.stringify((await client.query(${JSON.stringify(sql)})).rows));
			} catch (error) {
				console.log(error.code);
			}
			await client.end();`;
		const args = ["exec", "-i", container("door"), "node", "--input-type=module", "-"];
		return (await run("docker", args, { input: script })).stdout.trim();
	};

	test("reads MLflow's tables", async () => {
		expect(await asDoor("select name from experiments where experiment_id = 0")).toBe('[{"name":"Default"}]');
	});

	test.each([
		"update runs set status = status",
		"delete from experiments where experiment_id = 0",
		"insert into tags (key, value, run_uuid) values ('a', 'b', 'c')",
		"truncate metrics",
		"create table mine (a int)",
		"create temp table mine (a int)",
		"alter table runs add column mine int",
		"set role mlflow",
	])("does not: %s", async (sql) => expect(await asDoor(sql)).toBe("42501"));
});
