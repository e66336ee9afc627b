/**
 * The class that the door gives is the class of the route that MLflow runs: for thousands of generated requests
 * the MLflow image itself says which route it would match, with its own server's parser on the bytes.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { beforeAll, describe, expect, test } from "vitest";
import { imageRef } from "../../infra/images.ts";
import { canonicalTarget } from "../../proxy/gate/target.ts";
import { classOf } from "../../proxy/routes/classes.ts";
import { match, ROUTES, type Route, TAILS } from "../../proxy/routes/match.ts";
import { CHECKOUT, run } from "../support/mlgate.ts";

/** Another one each time with `DIFFERENTIAL_SEED=random`; a failure prints it. */
const SEED = process.env.DIFFERENTIAL_SEED === "random" ? Date.now() % 2 ** 31 : 20_261_124;
const COUNT = 40_000;

type Answer = { rule: string; path: string | null } | string | number;

interface Case {
	method: string;
	raw: string;
	forward: string;
	path: string;
	prefix: string | undefined;
	route: Route | undefined;
}

/** Each rule with the methods that it has; below the ones that end in a path, something to begin with. */
const WRITTEN = ROUTES.map(({ method, rule }) => ({ method, rule: rule.replace(/<path:\w+>/, "1/a") }));
const BELOW = WRITTEN.filter(({ rule }) => rule.endsWith("1/a"));
const METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
const TRICKS = [
	...[
		"/",
		"//",
		".",
		"..",
		"./",
		"../",
		"%2e",
		"%2E%2e",
		"%2f",
		"%2F",
		"%5c",
		";",
		";a=b",
		"?",
		"?a",
		"&",
		"=",
		"+",
	],
	...[
		"%",
		"%25",
		"%252f",
		"%252e",
		"%00",
		"%20",
		"%c3%a9",
		"%C3%A9",
		"%ff",
		"%F0%9F%8D%B0",
		"%E2%80%A8",
		"%EF%BC%8F",
	],
	...[
		"%3f",
		"%23",
		"%3b",
		"%7B",
		"{",
		"}",
		"[",
		"]",
		"'",
		'"',
		"<",
		"|",
		"^",
		"~",
		"$",
		"a",
		"B",
		"_",
		"-",
		"file:",
	],
	...[
		"mlflow",
		"api",
		"ajax-api",
		"2.0",
		"3.0",
		"preview",
		"artifacts",
		"delete",
		"get",
		"/..;/",
		"/%2e%2e/",
	],
];
const piece = fc.oneof(
	{ weight: 4, arbitrary: fc.constantFrom(...TRICKS) },
	{ weight: 1, arbitrary: fc.string({ maxLength: 3 }).filter((text) => /^[\x21-\x7e]*$/.test(text)) },
	{
		weight: 1,
		arbitrary: fc
			.string({ unit: "grapheme", minLength: 1, maxLength: 3 })
			.filter((text) => text.isWellFormed())
			.map(encodeURIComponent),
	},
);
/** A rule as it is, with something behind it, in the middle of it, or with letters of it in another case or encoded. */
const asked = fc
	.record({
		written: fc.oneof(fc.constantFrom(...WRITTEN), fc.constantFrom(...BELOW)),
		other: fc.option(fc.constantFrom(...METHODS), { freq: 3 }),
		junk: fc.array(piece, { minLength: 1, maxLength: 4 }).map((pieces) => pieces.join("")),
		at: fc.integer({ min: 0, max: 60 }),
		how: fc.constantFrom("behind", "behind", "behind", "plain", "inside", "case", "encoded", "alone"),
	})
	.map(({ written: { method, rule }, other, junk, at, how }): [string, string] => {
		const i = at % rule.length;
		const letter = rule[i] ?? "";
		const put = (text: string) => rule.slice(0, i) + text + rule.slice(i + 1);
		const upper = letter.toUpperCase();
		const made: Record<string, string> = {
			behind: rule + junk,
			plain: rule,
			inside: put(letter + junk),
			case: put(letter === upper ? letter.toLowerCase() : upper),
			encoded: put(`%${letter.charCodeAt(0).toString(16)}`),
			alone: `/${junk}`,
		};
		return [other === null ? method : other, made[how] ?? rule];
	});

async function ask(requests: readonly (readonly [string, string])[]): Promise<Answer[]> {
	const script = readFileSync(join(CHECKOUT, "test", "support", "matching.py"), "utf8");
	const ended = await run(
		"docker",
		["run", "--rm", "-i", "--network", "none", "--entrypoint", "python", imageRef("mlflow"), "-c", script],
		{ input: requests.map((request) => `${JSON.stringify(request)}\n`).join("") },
	);
	expect(ended.code, ended.stderr).toBe(0);
	const answers = ended.stdout.trimEnd().split("\n");
	expect(answers).toHaveLength(requests.length);
	return answers.map((line) => JSON.parse(line));
}

let cases: Case[];
let ofForward: Answer[];
let ofRaw: Answer[];
let passed = 0;

beforeAll(async () => {
	const generated = fc.sample(asked, { numRuns: COUNT, seed: SEED });
	cases = generated.flatMap(([method, raw]) => {
		const found = canonicalTarget(method, raw, TAILS);
		if ("refused" in found) return [];
		passed++;
		return [{ method, raw, ...found, route: match(method, found) }];
	});
	const both = cases.flatMap(({ method, raw, forward }) => [
		[method, forward] as const,
		[method, raw] as const,
	]);
	const answers = await ask(both);
	ofForward = answers.filter((_, i) => i % 2 === 0);
	ofRaw = answers.filter((_, i) => i % 2 === 1);
});

const about = ({ method, raw, forward, route }: Case, answer: Answer | undefined) =>
	`seed ${SEED}: ${method} ${raw} -> ${forward}, the door says ${route?.rule}, MLflow ${JSON.stringify(answer)}`;

describe("what the door lets through", () => {
	test("is thousands of requests, of every class, and not all of them as they stand in the map", () => {
		expect(passed).toBeGreaterThan(4_000);
		const known = cases.filter(({ route }) => route !== undefined);
		expect(known.length).toBeGreaterThan(2_000);
		expect(new Set(known.map(({ route }) => route?.class)).size).toBeGreaterThanOrEqual(8);
		expect(known.filter(({ raw, forward }) => raw !== forward).length).toBeGreaterThan(100);
	});

	test("runs the very route of MLflow that it was authorised as", () => {
		for (const [i, found] of cases.entries()) {
			const answer = ofForward[i];
			if (found.route === undefined) continue;
			// MLflow answers OPTIONS for a rule itself; every rule is one that it lists.
			expect(answer, about(found, answer)).toMatchObject({ rule: found.route.rule });
			expect(classOf(found.method, (answer as { rule: string }).rule) ?? "deny").toBe(found.route.class);
		}
	});

	test("names the very artifact that it was authorised for", () => {
		let names = 0;
		for (const [i, found] of cases.entries()) {
			const answer = ofForward[i];
			if (found.prefix === undefined || found.route === undefined || typeof answer !== "object") continue;
			names++;
			expect(answer.path, about(found, answer)).toBe(found.path.slice(found.prefix.length));
		}
		expect(names).toBeGreaterThan(500);
	});

	test("meant the same before the door wrote it anew", () => {
		for (const [i, found] of cases.entries()) {
			if (found.route === undefined) continue;
			expect(ofRaw[i], about(found, ofRaw[i])).toEqual(ofForward[i]);
		}
	});
});

describe("what the door knows no route for", () => {
	test("is no route of MLflow either", () => {
		for (const [i, found] of cases.entries()) {
			if (found.route !== undefined) continue;
			for (const answer of [ofForward[i], ofRaw[i]]) {
				expect([404, 405, "redirect"], about(found, answer)).toContain(answer);
			}
		}
	});
});
