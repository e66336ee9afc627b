/** Parts are started anew, and replaced by others, while people work. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { afterEach, beforeAll, describe, expect, test } from "vitest";
import { PARTS } from "../../infra/contract.ts";
import { imageRef } from "../../infra/images.ts";
import { Checkout } from "../support/checkout.ts";
import { type Load, underLoad } from "../support/load.ts";
import {
	docker,
	type Ended,
	mlgate,
	mustAnswer,
	mustRun,
	NAME,
	RUNNING_PARTS,
	stackPort,
	token,
} from "../support/mlgate.ts";

let uri: string;
let editor: string;

beforeAll(async () => {
	uri = `http://localhost:${await stackPort()}`;
	editor = await token("editor", "restart");
});

/** By part: when it was started, and which container it is. */
async function started(): Promise<Record<string, { id: string; at: string }>> {
	const names = RUNNING_PARTS.map((part) => `${NAME}-${part}`);
	const rows = await docker("inspect", "--format", "{{.Name}} {{.Id}} {{.State.StartedAt}}", ...names);
	return Object.fromEntries(
		rows.split("\n").map((row) => {
			const [name = "", id = "", at = ""] = row.split(" ");
			return [name.replace(`/${NAME}-`, ""), { id, at }];
		}),
	);
}

function expectNothingNoticed(load: Load): void {
	expect(load.failed).toEqual([]);
	expect(load.lost).toEqual([]);
	expect(load.twice).toEqual([]);
	expect(load.calls).toBeGreaterThan(20);
}

const holds = async (): Promise<unknown> =>
	JSON.parse(
		await docker("exec", `${NAME}-door`, "node", "/app/proxy/control/client.ts", "holds"),
	).holds.filter(({ reason }: { reason: string }) => reason === "announced");

describe("restart", () => {
	test("of all parts, the door among them: no client notices, the containers stay, nothing is lost or done twice", async () => {
		const before = await started();
		const { result, load } = await underLoad(uri, editor, () => mustAnswer(["restart"]));
		const after = await started();
		for (const part of RUNNING_PARTS) {
			expect(after[part]?.id).toBe(before[part]?.id);
			expect(after[part]?.at).not.toBe(before[part]?.at);
		}
		expect(result.verdict).toBe("healthy");
		expect(result.restarted.map(({ part }: { part: string }) => part)).toEqual(RUNNING_PARTS);
		expect(await holds()).toEqual([]);
		expectNothingNoticed(load);
		process.stderr.write(`restart: ${JSON.stringify(result.restarted)}, longest call ${load.longest} s\n`);
	});

	test("of the API: another one answers meanwhile, and no inference request fails", async () => {
		const viewer = await token("viewer", "restart-inference");
		const ask = () => fetch(`${uri}/inference/health`, { headers: { authorization: `Bearer ${viewer}` } });
		const answers: number[] = [];
		let going = true;
		const asking = (async () => {
			while (going) {
				answers.push((await ask()).status);
				await wait(20);
			}
		})();
		const result = await mustAnswer(["restart", "api"]);
		going = false;
		await asking;
		expect(new Set(answers)).toEqual(new Set([200]));
		expect(result.restarted).toMatchObject([{ part: "api", way: "relieved" }]);
		expect(await docker("ps", "-aq", "--filter", `name=${NAME}-api-candidate`)).toBe("");
	});

	test("of a part that does not exist is refused, and names those that do", async () => {
		const ended = await mlgate(["restart", "mysql"]);
		expect(ended.code).toBe(2);
		for (const part of PARTS) expect(ended.stderr).toContain(part);
	});

	test("twice at once: the second ends with 4 and says who is at it", async () => {
		const begun = Promise.withResolvers<void>();
		const first = mlgate(["restart", "minio"], {
			once: { said: "Restarting minio", run: () => begun.resolve() },
		});
		await Promise.race([begun.promise, first]);
		const second = await mlgate(["restart", "postgres", "--json"]);
		expect(second.code).toBe(4);
		expect(JSON.parse(second.stdout).error.what).toContain("restart");
		expect((await first).code).toBe(0);
	});

	test("Ctrl-C in the middle: it says where it is, the part runs again, nothing is held, and the next one completes", async () => {
		const ended = await mlgate(["restart", "postgres", "minio"], {
			once: { said: "Restarting postgres", run: (process) => process.kill("SIGINT") },
		});
		expect(ended.code).toBe(130);
		expect(ended.stderr).toMatch(/It ended at (postgres|minio)/);
		expect(ended.stderr).toContain("To go on: npx mlgate");
		expect(await holds()).toEqual([]);
		const states = await docker(
			"inspect",
			"--format",
			"{{.State.Status}}",
			`${NAME}-postgres`,
			`${NAME}-minio`,
		);
		expect(states.split("\n")).toEqual(["running", "running"]);
		await mustRun(["restart", "postgres", "minio"]);
	});
});

/** `up` in a checkout with one file changed, which goes afterwards. */
async function upWith(file: string, from: string, to: string): Promise<Ended> {
	const checkout = await Checkout.copy();
	try {
		await checkout.change(file, from, to);
		return await checkout.mlgate("up", "--yes");
	} finally {
		await checkout.remove();
	}
}

/** It ended with 5, and the last thing that it said is what the part said. */
function expectCauseLast({ code, stderr }: Ended, cause: RegExp): void {
	expect(code, stderr).toBe(5);
	expect(stderr.trimEnd().split("\n").slice(-16).join("\n")).toMatch(cause);
	expect(stderr.trimEnd().split("\n").at(-1)).toMatch(/^ {2}/);
}

describe("up with a change that is broken", () => {
	afterEach(async () => {
		expect((await mlgate(["status"])).code).toBe(0);
		expect(await docker("ps", "-aq", "--filter", `name=${NAME}.*-candidate`)).toBe("");
	});

	test("an API image that ends at once: nothing is touched, the old one serves, the cause is the last thing said", async () => {
		const folder = await mkdtemp(join(tmpdir(), "mlgate-broken-"));
		const dockerfile = `FROM ${imageRef("keeper")}\nCMD ["sh", "-c", "echo the model is a teapot >&2; exit 3"]\n`;
		await writeFile(join(folder, "Dockerfile"), dockerfile);
		const image = `${NAME}-broken:1`;
		await docker("build", "--tag", image, folder);
		await rm(folder, { recursive: true });
		const before = await started();
		try {
			await mustRun(["config", "set", "api.image", image]);
			expectCauseLast(await mlgate(["up", "--yes"]), /the model is a teapot/);
			expect(await started()).toEqual(before);
		} finally {
			await mustRun(["config", "set", "api.image", ""]);
			await docker("rmi", image);
		}
	});

	test("a bad environment of MLflow: the same", async () => {
		const before = await started();
		const ended = await upWith(
			"infra/mlflow.ts",
			"MLFLOW_WORKERS: String(args.workers)",
			'MLFLOW_WORKERS: "plenty"',
		);
		expectCauseLast(ended, /MLFLOW_WORKERS must be a whole number/);
		expect(await started()).toEqual(before);
	});

	test("a bad environment of a store, which no candidate can show: it is put back, and serves with its data", async () => {
		const ask = async () => {
			const headers = { authorization: `Bearer ${editor}` };
			return (await fetch(`${uri}/api/2.0/mlflow/experiments/search?max_results=1`, { headers })).json();
		};
		const known = await ask();
		const ended = await upWith(
			"infra/postgres.ts",
			"POSTGRES_MEMORY_MB: String(args.memory)",
			'POSTGRES_MEMORY_MB: "some"',
		);
		expectCauseLast(ended, /POSTGRES_MEMORY_MB must be a number/);
		expect(ended.stderr).toContain("was put back");
		expect(await ask()).toEqual(known);
		expect((await mustRun(["up", "--yes"])).stdout).toMatch(/nothing to change/i);
	});
});

describe("up with a change that is good", () => {
	test("replaces that part alone while clients log, and tells how long they waited", async () => {
		const before = await started();
		await mustRun(["config", "set", "mlflow.scratch", "9"]);
		try {
			const { result, load } = await underLoad(uri, editor, () => mustAnswer(["up", "--yes"]));
			const after = await started();
			for (const part of RUNNING_PARTS) expect(after[part]?.id === before[part]?.id).toBe(part !== "mlflow");
			expect(result.held).toMatchObject([{ part: "mlflow", refused: 0 }]);
			expectNothingNoticed(load);
		} finally {
			await mustRun(["config", "set", "mlflow.scratch", "10"]);
			await mustRun(["up", "--yes"]);
		}
	});
});
