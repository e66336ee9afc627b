/**
 * Parts go away and come back while people train: announced, as `mlgate` does it, and without a word. No call of a stock
 * client fails, nothing that was acknowledged is lost, and nothing is there twice.
 */
import { readFileSync } from "node:fs";
import { setTimeout as wait } from "node:timers/promises";
import { beforeAll, describe, expect, test } from "vitest";
import { hostName, type Part } from "../../infra/contract.ts";
import { python } from "../support/client.ts";
import { docker, mlgate, NAME, run, stackPort, token } from "../support/mlgate.ts";

const LOAD = readFileSync(new URL("../support/load.py", import.meta.url), "utf8");

let url: string;
let bearer: string;

beforeAll(async () => {
	url = `http://127.0.0.1:${await stackPort()}`;
	bearer = await token("editor", `restarts-${Date.now()}`);
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

/** A control command of the door, as ops send it. */
async function control(command: string, body: object): Promise<Record<string, unknown>> {
	const args = ["exec", "-i", container("door"), "node", "/app/proxy/control/client.ts", command];
	const { code, stdout } = await run("docker", args, { input: JSON.stringify(body) });
	expect([code, stdout]).toEqual([0, expect.any(String)]);
	return JSON.parse(stdout);
}

const post = (path: string, body: object) =>
	fetch(`${url}/api/2.0/mlflow/${path}`, {
		method: "POST",
		headers: { authorization: `Bearer ${bearer}`, "content-type": "application/json" },
		body: JSON.stringify(body),
	});

interface Load {
	calls: number;
	runs: number;
	failed: string[];
	lost: string[];
	twice: string[];
	longest: number;
}

/** Runs the load while `work` is done, and for a few seconds before and after. */
async function under(name: string, work: () => Promise<void>): Promise<Load> {
	const experiment = `restarts-${name}-${Date.now()}`;
	const load = python(LOAD, {
		MLFLOW_TRACKING_URI: url,
		MLFLOW_TRACKING_TOKEN: bearer,
		LOAD_NAME: experiment,
		LOAD_PROCESSES: "4",
	});
	const find = async () => {
		const query = `experiment_name=${encodeURIComponent(experiment)}`;
		const answer = await fetch(`${url}/api/2.0/mlflow/experiments/get-by-name?${query}`, {
			headers: { authorization: `Bearer ${bearer}` },
		});
		return answer.ok ? ((await answer.json()) as { experiment: { experiment_id: string } }) : undefined;
	};
	let found = await find();
	for (let i = 0; found === undefined && i < 120; i++) {
		await wait(500);
		found = await find();
	}
	await wait(5_000);
	try {
		await work();
		await wait(5_000);
	} finally {
		const stop = { experiment_id: found?.experiment.experiment_id, key: "stop", value: "yes" };
		expect((await post("experiments/set-experiment-tag", stop)).status).toBe(200);
	}
	const { code, stdout, stderr } = await load;
	expect([code, stderr.slice(-2_000)]).toEqual([0, expect.any(String)]);
	const told = JSON.parse(stdout.slice(stdout.indexOf("{"))) as Load;
	process.stderr.write(
		`${name}: ${told.calls} calls, ${told.runs} runs, ${told.failed.length} failed, ${told.lost.length} lost, ${told.twice.length} twice, longest call ${told.longest} s\n`,
	);
	return told;
}

describe("under load", () => {
	test("parts that are held while they restart: nobody notices", async () => {
		const told = await under("announced", async () => {
			for (const part of ["mlflow", "minio", "postgres"] as const) {
				expect(await control("hold", { part })).toMatchObject({ part, drained: true, running: 0 });
				await docker("restart", container(part));
				const released = await control("release", { part });
				process.stderr.write(`${part}: ${JSON.stringify(released)}\n`);
				expect(released).toMatchObject({ part, healthy: true });
				await healthy(part);
			}
			expect(await control("holds", {})).toEqual({ holds: [] });
		});
		expect(told).toMatchObject({ failed: [], lost: [], twice: [] });
	});

	test("parts that die without a word: nothing is lost and nothing is there twice", async () => {
		const told = await under("killed", async () => {
			for (const part of ["mlflow", "minio", "postgres", "door"] as const) {
				const pid = await docker("inspect", "-f", "{{.State.Pid}}", container(part));
				process.kill(Number(pid), "SIGKILL");
				await wait(2_000);
				await healthy(part);
				await wait(3_000);
			}
		});
		expect(told).toMatchObject({ failed: [], lost: [], twice: [] });
	});

	test("the door restarts: no call fails", async () => {
		const told = await under("door", async () => {
			for (let i = 0; i < 3; i++) {
				await docker("restart", container("door"));
				await healthy("door");
				await wait(2_000);
			}
		});
		expect(told).toMatchObject({ failed: [], lost: [], twice: [] });
		expect((await mlgate(["status"])).code).toBe(0);
	});
});
