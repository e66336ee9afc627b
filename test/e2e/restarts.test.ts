/**
 * Parts go away and come back while people train: announced, as `mlgate` does it, and without a word. No call of a stock
 * client fails, nothing that was acknowledged is lost, and nothing is there twice.
 */
import { setTimeout as wait } from "node:timers/promises";
import { beforeAll, describe, expect, test } from "vitest";
import { hostName, type Part } from "../../infra/contract.ts";
import { type Load, underLoad } from "../support/load.ts";
import { docker, mlgate, NAME, run, stackPort, token } from "../support/mlgate.ts";

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

/** Runs the load while `work` is done, and tells its figures. */
async function under(name: string, work: () => Promise<void>): Promise<Load> {
	const { load } = await underLoad(url, bearer, work);
	const { calls, runs, failed, lost, twice, longest } = load;
	process.stderr.write(
		`${name}: ${calls} calls, ${runs} runs, ${failed.length} failed, ${lost.length} lost, ${twice.length} twice, longest call ${longest} s\n`,
	);
	return load;
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
