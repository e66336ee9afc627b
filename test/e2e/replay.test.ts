/**
 * What the stock client gets through the door is what it gets from MLflow. A corpus of its calls goes to MLflow
 * directly and through the door as an admin; where an answer differs, `proxy/deviations.md` must say so.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { ALIAS, hostName, PORT } from "../../infra/contract.ts";
import { python } from "../support/client.ts";
import { CHECKOUT, docker, NAME, stackPort, token } from "../support/mlgate.ts";

interface Recorded {
	method: string;
	path: string;
	status: number;
	body: string;
}

interface Step {
	step: string;
	/** For the caller: `done`, or the exception. */
	ended: string;
	calls: Recorded[];
}

interface Tolerated {
	/** How its row of `deviations.md` begins. */
	row: string;
	steps: readonly string[];
	/** What a request comes to that differs; 0: to no answer. */
	direct: number;
	door: number;
}

/** The rows of `deviations.md` that the corpus meets, and what each comes to. */
const TOLERATED: readonly Tolerated[] = [
	{
		row: "a path or a method that is no route",
		steps: ["no route", "no route, old", "a slash at the end"],
		direct: 404,
		door: 403,
	},
	{ row: "a path or a method that is no route", steps: ["not by this method"], direct: 405, door: 403 },
	{ row: "`/build/...`", steps: ["build"], direct: 200, door: 403 },
	{ row: "`GET /`", steps: ["page"], direct: 200, door: 200 },
	{ row: "`POST .../mlflow-artifacts/mpu/...`", steps: ["mpu/create"], direct: 200, door: 200 },
	{
		row: "`HEAD` of an artifact that is not in the store",
		steps: ["HEAD get-artifact in none"],
		direct: 404,
		door: 405,
	},
	{
		row: "`model-versions/get-artifact` of a version whose `source` is `runs:/...`",
		steps: ["model-versions/get-artifact by runs:/"],
		direct: 500,
		door: 200,
	},
	{
		row: "an artifact that does not exist, or is a directory",
		steps: [
			"download of none",
			"GET of a missing artifact",
			"GET of a folder",
			"get-artifact of none",
			"model-versions/get-artifact of none",
		],
		direct: 500,
		door: 404,
	},
	{
		row: "an artifact whose name is not Latin-1",
		steps: ["download 日本 é.bin"],
		direct: 0,
		door: 200,
	},
	{
		row: "an artifact's name with a `%` in it, once decoded",
		steps: ["list_artifacts, climbing %2e%2e"],
		direct: 400,
		door: 200,
	},
	{
		row: "`GET .../mlflow-artifacts/artifacts?path=` with a `#` in the path",
		steps: ["list_artifacts, climbing a#b", "list, a hash in the name"],
		direct: 400,
		door: 200,
	},
	{
		row: "`GET .../mlflow-artifacts/artifacts?path=` with a `/` at its end",
		steps: ["list_artifacts, climbing nested/"],
		direct: 500,
		door: 400,
	},
	{
		row: "`DELETE` of an artifact whose name holds",
		steps: ["DELETE of a name with a mark"],
		direct: 200,
		door: 400,
	},
	{
		row: "`graphql` with anything but",
		steps: ["GraphQL, no query", "GraphQL, mutation"],
		direct: 200,
		door: 403,
	},
	{ row: "`graphql` with anything but", steps: ["GraphQL, introspection"], direct: 200, door: 400 },
];

const script = readFileSync(join(CHECKOUT, "test", "support", "replay.py"), "utf8");
const ROWS = readFileSync(join(CHECKOUT, "proxy", "deviations.md"), "utf8")
	.split("\n")
	.filter((line) => line.startsWith("| "))
	.map((line) => line.slice(2));

async function replay(prefix: string, env: Record<string, string>, network?: string): Promise<Step[]> {
	const ended = await python(
		script,
		{ ...env, PREFIX: prefix, MLFLOW_HTTP_REQUEST_MAX_RETRIES: "1" },
		network,
	);
	expect(ended.code, ended.stderr).toBe(0);
	const { steps, experiments } = JSON.parse(ended.stdout.trimEnd().split("\n").at(-1) ?? "");
	return normal(steps, prefix, experiments);
}

const FOLDER = "download, a folder";

/**
 * Ids by their order, times without their value, JSON without its white space. What MLflow reads from Postgres
 * without an order (tags, parameters, histories, latest versions) is put into one.
 */
function normal(steps: Step[], prefix: string, experiments: readonly string[]): Step[] {
	const runs = steps
		.flatMap(({ calls }) => calls)
		.filter(({ path, status }) => path.endsWith("/runs/create") && status === 200)
		.map(({ body }) => JSON.parse(body).run.info.run_id as string);
	const names = [
		[prefix, "<prefix>"],
		...experiments.map((id, i) => [id, `<experiment ${i}>`]),
		...runs.map((id, i) => [id, `<run ${i}>`]),
	] as const;
	const plain = (text: string): string =>
		names.reduce((so, [id, name]) => so.replaceAll(id, name), text).replace(/\b1[789]\d{11}\b/g, "<time>");
	return steps.map(({ step, ended, calls }) => ({
		step,
		ended,
		calls: calls
			.map((call) => ({ ...call, path: plain(call.path), body: ordered(plain(call.body), call.path) }))
			// The client fetches the files of a folder at the same time.
			.sort((a, b) => (step === FOLDER && a.path !== b.path ? (a.path < b.path ? -1 : 1) : 0)),
	}));
}

/** Names of lists whose order is no order of MLflow's, besides those of things with a `key`. */
const ANY_ORDER = new Set(["latest_versions"]);

function ordered(text: string, path: string): string {
	const any = path.includes("get-latest-versions") ? new Set(["model_versions"]) : ANY_ORDER;
	const inOrder = (value: unknown, name = ""): unknown => {
		if (typeof value !== "object" || value === null) return value;
		if (!Array.isArray(value)) {
			return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, inOrder(inner, key)]));
		}
		const inner = value.map((item) => inOrder(item));
		const keyed = inner.every((item) => typeof item === "object" && item !== null && "key" in item);
		return keyed || any.has(name)
			? inner.sort((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1))
			: inner;
	};
	try {
		return JSON.stringify(inOrder(JSON.parse(text)));
	} catch {
		return text;
	}
}

const tolerated = (step: string): Tolerated | undefined =>
	TOLERATED.find(({ steps }) => steps.includes(step));

let direct: Step[];
let through: Step[];

/** From here on the ids of experiments are numbers that mean nothing else. */
const LARGE_IDS = `
import os, psycopg2
database = psycopg2.connect(os.environ["MLFLOW_BACKEND_STORE_URI"])
database.autocommit = True
sequence = "experiments_experiment_id_seq"
database.cursor().execute(f"SELECT setval('{sequence}', greatest(last_value, 7000000)) FROM {sequence}")
`;

beforeAll(async () => {
	await docker("exec", hostName.container(NAME, "mlflow"), "python", "-c", LARGE_IDS);
	const stamp = Date.now().toString(36);
	[direct, through] = await Promise.all([
		replay(
			`replay-a-${stamp}`,
			{ MLFLOW_TRACKING_URI: `http://${ALIAS.mlflow}:${PORT.mlflow}` },
			hostName.network(NAME, "data"),
		),
		replay(`replay-b-${stamp}`, {
			MLFLOW_TRACKING_URI: `http://localhost:${await stackPort()}`,
			MLFLOW_TRACKING_TOKEN: await token("admin"),
		}),
	]);
});

describe("the same calls, to MLflow and through the door", () => {
	test("are hundreds, of every kind, and go well, wrong and to nothing", () => {
		const calls = direct.flatMap((step) => step.calls);
		expect(direct.map(({ step }) => step)).toEqual(through.map(({ step }) => step));
		expect(new Set(direct.map(({ step }) => step)).size).toBe(direct.length);
		expect(calls.length).toBeGreaterThan(350);
		for (const status of [200, 400, 404, 500]) {
			expect([status, calls.filter((call) => call.status === status).length]).toEqual([
				status,
				expect.toSatisfy((count) => count > 3),
			]);
		}
	});

	test("end alike for the caller, with the same answers", () => {
		const different = direct.flatMap((step, i) => {
			const other = through[i] as Step;
			if (tolerated(step.step) !== undefined) return [];
			const [one, two] = [step, other].map(({ ended, calls }) => ({ ended, calls }));
			return JSON.stringify(one) === JSON.stringify(two)
				? []
				: [{ step: step.step, direct: one, through: two }];
		});
		expect(different).toEqual([]);
	});
});

describe("where the door's answer is not MLflow's", () => {
	test.each(TOLERATED)("$row", ({ row, steps, direct: before, door }) => {
		expect(ROWS.filter((line) => line.startsWith(row))).toHaveLength(1);
		for (const name of steps) {
			const at = direct.findIndex(({ step }) => step === name);
			const [one, two] = [direct[at]?.calls.at(-1), through[at]?.calls.at(-1)];
			expect([name, one?.status, two?.status]).toEqual([name, before, door]);
			expect(one).not.toEqual(two);
		}
	});
});
