/** MLflow's pages in a real Chromium over the modelled slow line: an experiment of a hundred runs, and their comparison. */
import { fork } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Browser, BrowserContext, Locator, Page, Request } from "playwright-core";
import { launch } from "../support/chromium.ts";
import { PERSON } from "./frame/door.ts";
import { inTurn, mid, say } from "./frame/measure.ts";
import { type Row, ratio } from "./frame/rows.ts";
import { experiment } from "./frame/runs.ts";
import { AT, answers, origin, type Site, until } from "./frame/site.ts";

const ROUNDS = 3;
/**
 * A page is quiet when nothing has been asked or answered for so long, in milliseconds. Longer than Chromium works on
 * what it has before it asks for more; the time to the last answer is what counts, not this.
 */
const QUIET = 3_000;
const LONGEST = 90_000;

/** Whether a request is about runs and experiments: MLflow's own, or the door's for many runs. */
const isData = (url: string): boolean => /\/ajax-api\/|\/door\/runs\?/.test(url);

interface Visit {
	/** Bytes that came down the line. */
	bytes: number;
	/** Milliseconds until the last answer about runs and experiments: what somebody waits for. */
	data: number;
	/** Milliseconds to the last answer before it was quiet. */
	quiet: number;
	requests: number;
}

/** The line and what it counts. */
function openLine() {
	const child = fork(join(import.meta.dirname, "frame", "line.ts"), [
		...[AT.slowStock, AT.stock, AT.slowDoor, AT.door].map(String),
	]);
	return {
		async count(): Promise<number> {
			const answer = once(child, "message");
			child.send("count");
			return (await answer)[0] as number;
		},
		close: () => void child.disconnect(),
	};
}
type Line = ReturnType<typeof openLine>;

/** From the moment somebody goes there until the page has nothing more to ask. */
async function visit(page: Page, line: Line, url: string): Promise<Visit> {
	let [open, requests, last, data] = [0, 0, performance.now(), performance.now()];
	const begun = () => {
		open++;
		requests++;
	};
	const over = (request: Request) => {
		open--;
		last = performance.now();
		if (isData(request.url())) data = last;
	};
	page.on("request", begun).on("requestfinished", over).on("requestfailed", over);
	await line.count();
	const started = performance.now();
	await page.goto(url, { timeout: LONGEST });
	while (open > 0 || performance.now() - last < QUIET) {
		if (performance.now() - started > LONGEST) throw new Error(`${url} is not quiet after ${LONGEST} ms`);
		await sleep(50);
	}
	page.off("request", begun).off("requestfinished", over).off("requestfailed", over);
	return { bytes: await line.count(), data: data - started, quiet: last - started, requests };
}

interface Side {
	origin: string;
	/** What a browser that has signed in brings along. */
	cookies: { name: string; value: string; url: string }[];
}

async function signIn(): Promise<Side["cookies"]> {
	const at = origin(AT.door);
	const answer = await fetch(`${at}/login`, {
		method: "POST",
		redirect: "manual",
		headers: { origin: at },
		body: new URLSearchParams({ username: PERSON.name, password: PERSON.password, next: "/" }),
	});
	const cookies = answer.headers.getSetCookie().map((text) => /^([^=]+)=([^;]*)/.exec(text) ?? []);
	if (cookies.length === 0) throw new Error(`no sign-in: ${answer.status} ${await answer.text()}`);
	return cookies.map(([, name = "", value = ""]) => ({ name, value, url: origin(AT.slowDoor) }));
}

export async function measure(site: Site): Promise<Row[]> {
	say("a hundred runs");
	const { id, runs } = await experiment();
	const door = await site.door();
	const line = openLine();
	let browser: Browser | undefined;
	try {
		await until("the line", () => answers(`${origin(AT.slowStock)}/health`), 10_000);
		const sides: Record<"door" | "stock", Side> = {
			door: { origin: origin(AT.slowDoor), cookies: await signIn() },
			stock: { origin: origin(AT.slowStock), cookies: [] },
		};
		const list = (ids: readonly string[]) => encodeURIComponent(JSON.stringify(ids));
		const pages: Record<string, Shown> = {
			"The experiment's page": {
				path: `/#/experiments/${id}`,
				// As far down as the page draws them.
				text: (page) => page.getByText(/^trial-\d+$/),
			},
			"The comparison of 100 runs": {
				path: `/#/compare-runs?runs=${list(runs)}&experiments=${list([id])}`,
				// Ids and names of all runs, their times, parameters, metrics and tags.
				text: (page) => page.locator(".compare-run-table tr"),
			},
		};
		const chromium = await launch();
		browser = chromium;
		const fresh = async ({ cookies }: Side): Promise<BrowserContext> => {
			const context = await chromium.newContext({ viewport: { width: 1280, height: 800 } });
			if (cookies.length > 0) await context.addCookies(cookies);
			return context;
		};
		for (const shown of Object.values(pages)) await sameRuns(sides, fresh, shown);

		/** A first visit, and one more by the same browser. */
		const twice = async (side: Side, path: string): Promise<{ cold: Visit; warm: Visit }> => {
			const context = await fresh(side);
			try {
				const page = await context.newPage();
				const cold = await visit(page, line, side.origin + path);
				await page.goto("about:blank");
				const warm = await visit(page, line, side.origin + path);
				return { cold, warm };
			} finally {
				await context.close();
			}
		};
		const rows: Row[] = [];
		for (const [what, { path }] of Object.entries(pages)) {
			say(what);
			const visits = await inTurn(ROUNDS, {
				door: () => twice(sides.door, path),
				stock: () => twice(sides.stock, path),
			});
			const half = { atMost: 0.5 };
			const bytes = { atMost: what.startsWith("The experiment") ? 1 / 4.5 : 1 / 4 };
			const wanted = { bytes, data: half, quiet: half };
			for (const when of ["cold", "warm"] as const) {
				const asked = when === "cold" ? wanted : { bytes: {}, data: {}, quiet: {} };
				const label = `${what}, ${when === "cold" ? "first visit" : "visited again"}`;
				const stock = (field: (visit: Visit) => number) => ({
					name: "stock",
					value: mid(visits.stock, (one) => field(one[when])),
				});
				const own = (field: (visit: Visit) => number) => mid(visits.door, (one) => field(one[when]));
				const kb = ({ bytes }: Visit) => bytes / 1000;
				const [data, quiet] = [({ data }: Visit) => data / 1000, ({ quiet }: Visit) => quiet / 1000];
				rows.push(
					ratio(`${label}: bytes`, "KB", own(kb), stock(kb), asked.bytes),
					ratio(`${label}: until its data is there`, "s", own(data), stock(data), asked.data),
					ratio(`${label}: until it is quiet`, "s", own(quiet), stock(quiet), asked.quiet),
				);
			}
		}
		return rows;
	} finally {
		await browser?.close();
		line.close();
		await door.stop();
	}
}

interface Shown {
	path: string;
	/** What both sides must show alike. */
	text(page: Page): Locator;
}

/** Both show the same. */
async function sameRuns(
	sides: Record<"door" | "stock", Side>,
	fresh: (side: Side) => Promise<BrowserContext>,
	{ path, text }: Shown,
): Promise<void> {
	const shown = async (side: Side): Promise<string> => {
		const context = await fresh(side);
		try {
			const page = await context.newPage();
			await page.goto(side.origin + path, { timeout: LONGEST });
			await page.getByText("trial-99").first().waitFor({ timeout: LONGEST });
			return JSON.stringify((await text(page).allTextContents()).sort());
		} finally {
			await context.close();
		}
	};
	const [one, other] = [await shown(sides.door), await shown(sides.stock)];
	if (one !== other) throw new Error(`the two show other runs on ${path}: ${one} and ${other}`);
	if (!one.includes("trial-99")) throw new Error(`nothing is shown on ${path}`);
}
