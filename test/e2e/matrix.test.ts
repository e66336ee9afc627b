/**
 * Every route of the image, under both of its names, by every method, for everybody, in every spelling: what may
 * not be done is not done. What MLflow holds is compared before and after, and what reaches it is listened to.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { HEALTH_PATH } from "../../proxy/gate/index.ts";
import { canonicalTarget } from "../../proxy/gate/target.ts";
import { atLeast, NEEDED, type Role } from "../../proxy/roles.ts";
import { classOf, TWINS } from "../../proxy/routes/classes.ts";
import { match, ROUTES, TAILS } from "../../proxy/routes/match.ts";
import { DISGUISES, respell, SPELLINGS } from "../attacks/spellings.ts";
import { type Call, Caller, each, sha } from "../support/caller.ts";
import { callsOf, makeThings } from "../support/calls.ts";
import { changed, openState, openWire, type StateReader, type Wire } from "../support/mlflow.ts";
import { stackPort, token } from "../support/mlgate.ts";

const METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
const RULES = [...new Set(ROUTES.map(({ rule }) => rule))];
/** Registered in the image without a handler. */
const WITHOUT_HANDLER = /\/mlflow\/traces/;
/** What they change lies in no table, and is no object yet or any more. */
const ELSEWHERE = /\/mpu\/(?:create|abort)\/|\/gateway-proxy$/;

/**
 * Reads that answer something else than 200, whoever asks. GraphQL takes no GET, and MLflow says so with a 500. Of a HEAD
 * MLflow does not read the query, so that it misses what it needs.
 */
const isUnread = (method: string, rule: string, status: number): boolean =>
	(rule === "/graphql" && status === 500) || (method === "HEAD" && status === 400);

let port: number;
let caller: Caller;
let tokens: Record<Role, string>;
let calls: ReadonlyMap<string, Call>;
let state: StateReader;
let wire: Wire;

beforeAll(async () => {
	port = await stackPort();
	caller = new Caller(port);
	const made = [await token("viewer"), await token("editor"), await token("admin")] as const;
	tokens = { viewer: made[0], editor: made[1], admin: made[2] };
	const mark = `matrix ${Date.now().toString(36)}`;
	const things = await each(
		TWINS,
		(twin) => makeThings(caller, tokens.admin, twin, `${mark} ${twin.slice(1, 5)}`),
		1,
	);
	calls = callsOf(things);
	[state, wire] = [openState(), await openWire()];
});
afterAll(async () => {
	caller?.close();
	await Promise.all([state?.end(), wire?.end()]);
});

/** The request for one method of a rule. Of a method that it does not have: what another one would send. */
function callOf(method: string, rule: string): Call {
	const own = calls.get(`${method} ${rule}`);
	if (own !== undefined) return own;
	const other = METHODS.map((verb) => calls.get(`${verb} ${rule}`)).find((call) => call !== undefined);
	if (other === undefined) throw new Error(`no request for ${rule}`);
	const bodiless = ["GET", "HEAD", "OPTIONS"].includes(method);
	return bodiless ? { method, target: other.target } : { ...other, method };
}

const mayUse = (role: Role | null, method: string, rule: string): boolean => {
	const routeClass = classOf(method, rule);
	const needs = routeClass === undefined ? undefined : NEEDED[routeClass];
	return role !== null && needs !== undefined && atLeast(role, needs);
};

/** The routes that a role may not use, each by the methods that it has. */
const shutTo = (role: Role | null): Call[] =>
	ROUTES.filter(
		({ method, rule }) => !["HEAD", "OPTIONS"].includes(method) && !mayUse(role, method, rule),
	).map(({ method, rule }) => callOf(method, rule));

/** Whether a request, whatever it was made from, is one that a role may make. */
function isAllowed(role: Role | null, { method, target }: Call): boolean {
	if (target === HEALTH_PATH) return true;
	const found = canonicalTarget(method, target, TAILS);
	const route = "refused" in found ? undefined : match(method, found);
	return route !== undefined && mayUse(role, method, route.rule);
}

type Asked = readonly (readonly [what: string, call: Call])[];

/** Sends them all. @returns those that the door did not refuse by itself */
async function unrefused(asked: Asked, role: Role | null): Promise<string[]> {
	const answers = await each(
		asked,
		async ([, call]) => await caller.say(call, role === null ? null : tokens[role]),
	);
	return answers.flatMap(({ status, code }, i) => {
		const [what, { method, target }] = asked[i] as readonly [string, Call];
		// A 429 would be a refusal that says nothing.
		const refused = code !== undefined && status >= 400 && status < 429;
		return refused ? [] : [`${what}: ${method} ${target} is ${status} ${code}`];
	});
}

/** Nothing of what is asked is answered by anybody but the door, reaches MLflow, or changes what it holds. */
async function nothingHappens(asked: Asked, role: Role | null): Promise<void> {
	const before = await state.read();
	const mark = wire.mark();
	expect(await unrefused(asked, role)).toEqual([]);
	expect(await wire.since(mark)).toEqual([]);
	expect(changed(before, await state.read())).toEqual([]);
}

describe("the requests of this test", () => {
	test("are one for every route that does something", () => {
		const keys = ROUTES.filter(({ method }) => method !== "HEAD" && method !== "OPTIONS").map(
			({ method, rule }) => `${method} ${rule}`,
		);
		expect([...calls.keys()].sort()).toEqual(keys.sort());
	});
});

describe.each([
	["a stranger", null, 800],
	["a viewer", "viewer", 500],
	["an editor", "editor", 400],
] as const)("%s changes nothing that is not for him", (_, role, least) => {
	test("by any method, as it is written", async () => {
		const asked = RULES.flatMap((rule) => METHODS.map((method) => [method, rule] as const))
			.filter(([method, rule]) => !mayUse(role, method, rule))
			.map(([method, rule]) => ["plain", callOf(method, rule)] as const);
		expect(asked.length).toBeGreaterThan(least);
		await nothingHappens(asked, role);
	});

	test("in any other spelling", async () => {
		const origin = `http://localhost:${port}`;
		const asked = shutTo(role).flatMap((call) =>
			Object.entries(SPELLINGS).map(
				([what, how]) => [what, { ...call, target: respell(call.target, how, origin) }] as const,
			),
		);
		await nothingHappens(asked, role);
	});

	test("in any disguise", async () => {
		const asked = shutTo(role).flatMap((call) =>
			Object.entries(DISGUISES).map(([what, disguise]) => [what, disguise(call)] as const),
		);
		const plain = asked.filter(([, call]) => isAllowed(role, call));
		const before = await state.read();
		// A read in the clothes of a write stays a read.
		await each(plain, async ([, call]) => await caller.say(call, role === null ? null : tokens[role]));
		expect(changed(before, await state.read())).toEqual([]);
		await nothingHappens(
			asked.filter((one) => !plain.includes(one)),
			role,
		);
	});
});

describe("every read", () => {
	const readable = ROUTES.filter(({ method, rule }) => mayUse("viewer", method, rule));
	/** The door's own strip says who is looking. */
	const withoutStrip = (body: Buffer): Buffer =>
		Buffer.from(body.toString("latin1").replace(/<nav class="mlgate-strip"[\s\S]*?<\/nav>/, ""), "latin1");

	test("gives a viewer what it gives an editor", async () => {
		const before = await state.read();
		const looked = async (role: Role) =>
			await each(readable, async ({ method, rule }) => {
				const { status, code, headers, body } = await caller.say(callOf(method, rule), tokens[role]);
				const said = sha(rule === "/" ? withoutStrip(body) : body);
				return { method, rule, status, code, type: headers["content-type"], said };
			});
		const [viewer, editor] = [await looked("viewer"), await looked("editor")];
		expect(viewer).toEqual(editor);
		const unread = viewer.filter(
			({ method, rule, status }) =>
				status !== 200 && !WITHOUT_HANDLER.test(rule) && !isUnread(method, rule, status),
		);
		expect(unread.map(({ method, rule, status }) => `${status} ${method} ${rule}`)).toEqual([]);
		expect(changed(before, await state.read())).toEqual([]);
	});
});

describe("the very same requests", () => {
	const doing = ROUTES.filter(
		({ method, rule, class: of }) =>
			!["GET", "HEAD", "OPTIONS"].includes(method) &&
			!["read", "static", "deny"].includes(of) &&
			!WITHOUT_HANDLER.test(rule),
	);

	test("are carried out for whoever may, and are seen in what MLflow holds", async () => {
		expect(doing.length).toBeGreaterThan(60);
		// What may go wrong with one is seen with the others.
		const failed: string[] = [];
		for (const { method, rule, needs } of doing) {
			const before = await state.read();
			const said = await caller.say(callOf(method, rule), tokens[needs ?? "admin"]);
			const what = changed(before, await state.read());
			if (said.status !== 200 || (what.length === 0 && !ELSEWHERE.test(rule))) {
				failed.push(
					`${method} ${rule}: ${said.status} ${said.body.toString().slice(0, 200)}, changed ${what}`,
				);
			}
		}
		expect(failed).toEqual([]);
	});
});
