/**
 * What the door has judged in a body or a query is what MLflow reads there: for thousands of generated ones the
 * MLflow image itself says what it makes of those that an editor or a viewer gets through.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { beforeAll, describe, expect, test } from "vitest";
import { imageRef } from "../../infra/images.ts";
import { canonicalQuery } from "../../proxy/gate/target.ts";
import { bodyRuleOf, isTracked, ROWS, refusedBody } from "../../proxy/routes/bodies.ts";
import { queryRuleOf } from "../../proxy/routes/queries.ts";
import { CHECKOUT, run } from "../support/mlgate.ts";

/** Another one each time with `DIFFERENTIAL_SEED=random`; a failure prints it. */
const SEED = process.env.DIFFERENTIAL_SEED === "random" ? Date.now() % 2 ** 31 : 20_261_127;
const COUNT = 40_000;
/** So many of those that the door refuses are asked about too: what they would have come to. */
const CONTROL = 4_000;

type Read = Readonly<Record<string, unknown>>;
interface Case {
	method: "GET" | "POST";
	path: string;
	query: string;
	body: Buffer;
	/** The door sends it on. */
	passes: boolean;
	read: Read;
}

/** By route, the field that decides, among others. */
const DECIDES = {
	"experiments/create": "artifact_location",
	"model-versions/create": "source",
	"runs/search": "max_results",
} as const;
/** The name as it is, in protobuf's other spelling, and in ways that one parser may take for it. */
const spelled = (name: string) => {
	const camel = name.replace(/_(\w)/g, (_, letter: string) => letter.toUpperCase());
	const plain = fc.constantFrom(name, camel, "name", "other_field");
	const odd = fc.constantFrom(
		...[name.replace(/[_o]/, "\\u005f"), camel.replace("L", "\\u004c"), name.toUpperCase(), `${name}\\u0000`],
		...[
			`${name} `,
			`${name}[]`,
			`${name}[0]`,
			`${name}\\u0000x`,
			name.replace("_", "-"),
			`_${name}`,
			`[${name}]`,
		],
	);
	return fc.oneof({ weight: 3, arbitrary: plain }, { weight: 1, arbitrary: odd });
};
const value = fc.constantFrom(
	...[
		'""',
		'"s3://b/x"',
		"null",
		'["s3://b"]',
		'{"value":"s3://b"}',
		'"runs:/a/m"',
		'"runs:/a/../m"',
		"1",
		"true",
	],
	...[
		"10000",
		"10001",
		"50000",
		'"50000"',
		"5e4",
		'"5e4"',
		"50000.0",
		'"50_000"',
		'"\uff15\uff10000"',
		"NaN",
		"1e999",
	],
	...[
		'"mlflow-artifacts:/1/m"',
		'"mlflow-artifacts:/1/%252e%252e/m"',
		'"\\ud800"',
		'"a\\u0000"',
		'" 50000"',
		"-1",
	],
);
const object = (name: string) =>
	fc
		.array(fc.tuple(spelled(name), value), { minLength: 1, maxLength: 3 })
		.map((pairs) => `{${pairs.map(([key, of]) => `"${key}":${of}`).join(",")}}`);
const text = (name: string) =>
	fc.tuple(object(name), object(name), fc.nat(13)).map(([one, other, how]): string | Buffer => {
		const made: (string | Buffer)[] = [
			...[one, one, one, one, JSON.stringify(one), `\ufeff${one}`, ` \n${one}\t`],
			...[Buffer.from(one, "utf16le"), Buffer.from(`\ufeff${one}`, "utf16le"), `[${one}]`, `${one}${other}`],
			...[`{"message":${one},${other.slice(1)}`, `{"__proto__":${one}}`, JSON.stringify(`\ufeff${one}`)],
		];
		return made[how] ?? one;
	});
const bodies = fc.constantFrom(...(Object.keys(DECIDES) as (keyof typeof DECIDES)[])).chain((path) =>
	fc.record({
		path: fc.constant(path),
		body: text(DECIDES[path]).map((of) => (typeof of === "string" ? Buffer.from(of) : of)),
	}),
);

const parameter = fc.tuple(
	fc.constantFrom(
		...["max_results", "maxResults", "max_results[]", "max_results[0]", "max%5Fresults", "max_results[a]"],
		...[
			"run_ids",
			"runIds",
			"run_ids[]",
			"run_ids[0]",
			"run_ids%5B%5D",
			"filter",
			"max_results.x",
			"[max_results]",
		],
	),
	fc.constantFrom(
		"1",
		"10000",
		"50000",
		"+50000",
		"5e4",
		"50_000",
		"%EF%BC%95%EF%BC%90000",
		"1;max_results=50000",
		"a&runIds=b",
		"",
		"%00",
		"1%26max_results=50000",
	),
);
const queries = fc.record({
	path: fc.constantFrom("model-versions/search", "metrics/get-history-bulk-interval"),
	raw: fc
		.array(parameter, { minLength: 1, maxLength: 4 })
		.map((pairs) => pairs.map(([name, of]) => `${name}=${of}`).join("&")),
});

async function ask(cases: readonly Omit<Case, "read">[]): Promise<Case[]> {
	const script = readFileSync(join(CHECKOUT, "test", "support", "reading.py"), "utf8");
	const ended = await run(
		"docker",
		["run", "--rm", "-i", "--network", "none", "--entrypoint", "python", imageRef("mlflow"), "-c", script],
		{
			input: cases
				.map(
					({ method, path, query, body }) =>
						`${JSON.stringify([method, path, query, body.toString("base64")])}\n`,
				)
				.join(""),
		},
	);
	expect(ended.code, ended.stderr).toBe(0);
	const lines = ended.stdout.trimEnd().split("\n");
	expect(lines).toHaveLength(cases.length);
	return cases.map((of, i) => ({ ...of, read: JSON.parse(lines[i] ?? "") }));
}

let through: Case[];
let refused: Case[];

beforeAll(async () => {
	const asked: Omit<Case, "read">[] = [
		...fc.sample(bodies, { numRuns: COUNT, seed: SEED }).map(({ path, body }) => {
			const rule = bodyRuleOf("POST", `/api/2.0/mlflow/${path}`);
			if (rule === undefined) throw new Error(`no rule for ${path}`);
			return {
				method: "POST" as const,
				path,
				query: "",
				body,
				passes: refusedBody(rule, body) === undefined,
			};
		}),
		...fc.sample(queries, { numRuns: COUNT, seed: SEED }).map(({ path, raw }) => {
			const query = canonicalQuery(raw);
			const rule = queryRuleOf("GET", `/api/2.0/mlflow/${path}`);
			if (rule === undefined) throw new Error(`no rule for ${path}`);
			const passes = query !== undefined && rule(new URLSearchParams(query)) === undefined;
			return { method: "GET" as const, path, query: query ?? raw, body: Buffer.alloc(0), passes };
		}),
	];
	const unlike = asked.filter(({ passes }) => !passes);
	const control = unlike.filter((_, i) => i % Math.ceil(unlike.length / CONTROL) === 0);
	const read = await ask([...asked.filter(({ passes }) => passes), ...control]);
	through = read.filter(({ passes }) => passes);
	refused = read.filter(({ passes }) => !passes);
});

/** Cases of a route, and those of them in which MLflow reads something. */
const LEAST = [150, 50].map((least) => expect.toSatisfy((count: number) => count > least));

const of = (path: string, cases = through): Case[] => cases.filter((found) => found.path === path);
const about = ({ query, body, read }: Case): string =>
	`seed ${SEED}: ${query}${body.toString()} is read as ${JSON.stringify(read)}`;

describe("what the door refuses", () => {
	test("would have been read by MLflow as what it must not be", () => {
		const would = (path: string, reads: (read: Read) => boolean) =>
			of(path, refused).filter(({ read }) => reads(read)).length;
		expect(would("experiments/create", (read) => (read.artifact_location ?? "") !== "")).toBeGreaterThan(50);
		expect(
			would("model-versions/create", ({ source }) => source !== undefined && !isTracked(source)),
		).toBeGreaterThan(50);
		expect(would("runs/search", (read) => Number(read.max_results) > ROWS)).toBeGreaterThan(20);
		expect(would("model-versions/search", (read) => Number(read.max_results) > ROWS)).toBeGreaterThan(20);
	});
});

describe("what gets through to be read by MLflow", () => {
	test("is hundreds of each, and not all of it is nothing", () => {
		for (const path of [...Object.keys(DECIDES), "model-versions/search"]) {
			const some = of(path).filter(({ read }) => Object.keys(read).length > 0);
			expect([path, of(path).length, some.length]).toEqual([path, ...LEAST]);
		}
	});

	test("sets no artifact_location", () => {
		for (const found of of("experiments/create")) {
			expect(found.read.artifact_location ?? "", about(found)).toBe("");
		}
	});

	test("names no foreign source", () => {
		for (const found of of("model-versions/create")) {
			const source = found.read.source ?? "";
			expect(source === "" || isTracked(source), about(found)).toBe(true);
		}
	});

	test("asks for no more rows than may be asked for", () => {
		for (const found of [...of("runs/search"), ...of("model-versions/search")]) {
			expect(Number(found.read.max_results ?? 0), about(found)).toBeLessThanOrEqual(ROWS);
		}
	});

	test("lists runs in one spelling, so that MLflow counts all of them", () => {
		for (const found of of("metrics/get-history-bulk-interval")) {
			const asked = new URLSearchParams(found.query);
			const counted = [...asked.keys()].filter((name) => name.startsWith("run_ids")).length;
			expect(((found.read.run_ids as unknown[]) ?? []).length, about(found)).toBeLessThanOrEqual(counted);
		}
	});
});
