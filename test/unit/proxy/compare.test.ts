/** The script that asks for a comparison's runs before MLflow's page does, with that page and the door made up. */
import { runInNewContext } from "node:vm";
import { describe, expect, test } from "vitest";
import { COMPARE_SCRIPT } from "../../../proxy/menu/assets.ts";

const id = (n: number): string => n.toString(16).padStart(32, "0");
const hashOf = (runs: unknown, query = "experiments=%5B%220%22%5D"): string =>
	`#/compare-runs?runs=${encodeURIComponent(JSON.stringify(runs))}&${query}`;
const QUESTION = "ajax-api/2.0/mlflow/runs/get?run_id=";
/** As MLflow's `fetchEndpointRaw` says it. */
const INIT = {
	method: "GET",
	headers: { "Content-Type": "application/json; charset=utf-8" },
	dataType: "json",
};

const said = (run_id: string) => ({
	run_id,
	status: run_id === id(2) ? 404 : 200,
	content_type: "application/json",
	body: `{"run": "${run_id}", "v": NaN, "n": 12345678901234567890}`,
});
const idsIn = (url: string): string[] => new URLSearchParams(url.split("?")[1]).getAll("run_id");
type Door = (url: string) => Response | Promise<Response>;
const door: Door = (url) => Response.json({ runs: idsIn(url).map(said), left_out: [] });

/** A page that has just been opened there. */
function open(hash: string, { answer = door, most = 200 } = {}) {
	const asked: string[] = [];
	const network = async (input: unknown): Promise<Response> => {
		asked.push(String(input));
		return String(input).startsWith("/door/runs") ? await answer(String(input)) : new Response("network");
	};
	const page = {
		location: { hash },
		document: { currentScript: { dataset: { most: String(most) } } },
		fetch: network as (...question: unknown[]) => Promise<Response>,
		...{ URLSearchParams, Response },
		window: {} as { fetch: unknown },
	};
	page.window = page;
	runInNewContext(COMPARE_SCRIPT.body.toString(), page);
	const runs = async (n: number, init: object | null | undefined = INIT) => {
		const response = await page.fetch(QUESTION + id(n), init);
		return [response.status, response.headers.get("content-type"), await response.text()];
	};
	return { page, asked, runs, isOver: () => page.fetch === network };
}

const NETWORK = [200, "text/plain;charset=UTF-8", "network"];
const SAID = (n: number) => [said(id(n)).status, "application/json", said(id(n)).body];

describe("a page that is opened on a comparison", () => {
	test("asks the door at once, answers MLflow's questions with it, each once, and is then what it was", async () => {
		const { asked, runs, isOver } = open(hashOf([id(1), id(2), id(1)]));
		await Promise.resolve();
		expect(asked.map(idsIn)).toEqual([[id(1), id(2)]]);
		expect(isOver()).toBe(false);
		expect(await Promise.all([runs(1), runs(2)])).toEqual([SAID(1), SAID(2)]);
		expect(isOver()).toBe(true);
		expect(asked).toHaveLength(1);
		expect([await runs(1), await runs(2)]).toEqual([NETWORK, NETWORK]);
	});

	test("answers a run once, while others are still to come", async () => {
		const { runs, isOver } = open(hashOf([id(1), id(2)]));
		expect([await runs(1), await runs(1)]).toEqual([SAID(1), NETWORK]);
		expect(isOver()).toBe(false);
	});

	test("of very many runs asks in turn, and for no more once the door does not answer", async () => {
		const all = Array.from({ length: 5 }, (_, n) => id(n));
		const { asked, runs } = open(hashOf(all), { most: 2 });
		expect(await runs(4)).toEqual(SAID(4));
		expect(asked.map(idsIn)).toEqual([all.slice(0, 2), all.slice(2, 4), all.slice(4)]);
		const failing = open(hashOf(all), {
			most: 2,
			answer: (url) => (url.includes(id(2)) ? new Response("", { status: 429 }) : door(url)),
		});
		expect(await Promise.all([0, 1, 2, 3, 4].map((n) => failing.runs(n)))).toEqual([
			...[SAID(0), SAID(1)],
			...[NETWORK, NETWORK, NETWORK],
		]);
		expect(failing.asked.filter((url) => url.startsWith("/door"))).toHaveLength(2);
	});

	test.each<[string, Door]>([
		["refuses", () => Response.json({ error_code: "PERMISSION_DENIED" }, { status: 403 })],
		["cannot be reached", () => Promise.reject(new TypeError("Failed to fetch"))],
		["answers something else", () => new Response("<p>not JSON")],
		["answers other JSON", () => Response.json({})],
		["leaves the run out", () => Response.json({ runs: [said(id(2))], left_out: [id(1)] })],
		["says what no answer can be", () => Response.json({ runs: [{ ...said(id(1)), status: 204 }] })],
	])("whose door %s asks for itself", async (_, answer) => {
		const { runs } = open(hashOf([id(1), id(2)]), { answer });
		expect(await runs(1)).toEqual(NETWORK);
	});

	test("waits for the door's answer, and never asks twice for what is on its way", async () => {
		const { promise, resolve } = Promise.withResolvers<Response>();
		const { asked, runs } = open(hashOf([id(1)]), { answer: () => promise });
		const answer = runs(1);
		await new Promise((done) => setTimeout(done, 20));
		expect(asked).toHaveLength(1);
		resolve(Response.json({ runs: [said(id(1))] }));
		expect(await answer).toEqual(SAID(1));
	});

	test.each([
		["that is no GET", QUESTION + id(1), { method: "POST" }],
		["that can be ended", QUESTION + id(1), { signal: new AbortController().signal }],
		["for another run", QUESTION + id(3), INIT],
		["for more than the run", `${QUESTION}${id(1)}&a=b`, INIT],
		["of another route", `ajax-api/2.0/mlflow/runs/delete?run_id=${id(1)}`, INIT],
		["by another path", `/${QUESTION}${id(1)}`, INIT],
		["as an object", { url: QUESTION + id(1) }, undefined],
	])("leaves a question %s alone", async (_, url, init) => {
		const { page, asked, runs } = open(hashOf([id(1)]));
		expect(await (await page.fetch(url, init)).text()).toBe("network");
		expect(asked).toHaveLength(2);
		expect(await runs(1, null)).toEqual(SAID(1));
	});

	test("that has gone elsewhere asks for itself, there and after", async () => {
		for (const elsewhere of ["#/experiments/0", hashOf([id(1), id(4)])]) {
			const { page, runs, isOver } = open(hashOf([id(1), id(2)]));
			const { hash } = page.location;
			page.location.hash = elsewhere;
			expect(await runs(1)).toEqual(NETWORK);
			expect(isOver()).toBe(true);
			page.location.hash = hash;
			expect(await runs(2)).toEqual(NETWORK);
		}
	});

	test("leaves a fetch that somebody else has put in its place", async () => {
		const { page, runs } = open(hashOf([id(1)]));
		const inner = page.fetch;
		const outer: typeof inner = (...question) => inner(...question);
		page.fetch = outer;
		expect(await runs(1)).toEqual(SAID(1));
		expect(page.fetch).toBe(outer);
		expect(await runs(1)).toEqual(NETWORK);
	});
});

test.each([
	["another page", "#/experiments/0"],
	["the first page", ""],
	["a page that only begins so", hashOf([id(1)]).replace("compare-runs", "compare-runs-not")],
	[
		"runs that come second",
		`#/compare-runs?experiments=%5B%5D&runs=${encodeURIComponent(JSON.stringify([id(1)]))}`,
	],
	["no runs", hashOf([])],
	["no list", hashOf({ a: id(1) })],
	["a text", hashOf(id(1))],
	["no JSON", "#/compare-runs?runs=%5B"],
	[
		"what are no ids of MLflow's",
		hashOf(["x", `${id(1)}\n`, id(1).slice(1), [id(1)], 7, null, `${id(1)}&run_id=${id(2)}`]),
	],
])("%s: nobody is asked, and fetch is what it was", async (_, hash) => {
	const { asked, isOver } = open(hash);
	await new Promise((done) => setTimeout(done, 5));
	expect([asked, isOver()]).toEqual([[], true]);
});
