import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { launch, picture } from "../support/chromium.ts";
import { python } from "../support/client.ts";
import { mustAnswer, mustRun, run, stackPort, token } from "../support/mlgate.ts";
import { PASSWORD, signIn, visit } from "../support/visitor.ts";

let browser: Browser;
let origin: string;

/** As wide as the README shows its pictures. */
const PICTURE = { viewport: { width: 1000, height: 640 } } as const;

beforeAll(async () => {
	origin = `http://localhost:${await stackPort()}`;
	browser = await launch();
});
afterAll(() => browser?.close());

async function choosePassword(page: Page): Promise<void> {
	await page.getByLabel("Password", { exact: true }).fill(PASSWORD);
	await page.getByLabel("Password again").fill(PASSWORD);
	await page.getByRole("button", { name: /sign in$/ }).click();
	await page.waitForURL(`${origin}/`);
	await page.getByRole("link", { name: "Experiments" }).first().waitFor();
}

/** The text of the block under a heading that is shown once; in the picture it is cut. */
async function shownOnce(page: Page, heading: string, name: string): Promise<string> {
	const block = page.locator("h3", { hasText: heading }).locator("xpath=following-sibling::pre[1]");
	const text = (await block.textContent()) ?? "";
	await page.evaluate(`for (const node of document.querySelectorAll("pre code"))
		node.textContent = node.textContent.replace(/(invite.|eyJ)[\\w.-]{20,}/g, "$1...");`);
	await picture(page, name);
	return text;
}

const whoami = (page: Page) => page.evaluate(async () => (await fetch("/door/whoami")).json());

describe("the first ten minutes", () => {
	let link: string | undefined;

	test("the first admin's one-time link makes an admin once, and leads into the MLflow UI", async () => {
		const up = await mustRun(["up", "--yes"]);
		link = /http:\/\/localhost:\d+\/invite\/\S+/.exec(up.stdout + up.stderr)?.[0];
		expect(link).toBeDefined();
		const { page, complaints, close } = await visit(browser, PICTURE);
		await page.goto(link ?? "");
		await page.getByLabel("User name").fill("root-admin");
		await picture(page, "first-admin");
		await choosePassword(page);
		expect(await whoami(page)).toMatchObject({ user: "root-admin", role: "admin" });
		expect(complaints()).toEqual([]);
		await close();

		const again = await visit(browser);
		await again.page.goto(link ?? "");
		await again.page.getByRole("heading", { name: "Used already" }).waitFor();
		expect(await again.page.locator("input[type=password]").count()).toBe(0);
		await again.close();
		const users = await mustAnswer(["users", "list"]);
		expect(JSON.stringify(users)).toContain("root-admin");
		// Once there is an admin, `up` offers no link any more.
		const later = await mustRun(["up", "--yes"]);
		expect(later.stdout + later.stderr).not.toContain("/invite/");
		await mustRun(["train", "--epochs", "2", "--runs", "2"]);
	});

	test("the admin invites a viewer, who chooses a password, sees the runs, and is told where the role ends", async () => {
		const admin = await visit(browser, PICTURE);
		await admin.page.goto(`${origin}/`);
		await picture(admin.page, "login");
		await signIn(admin.page, "root-admin");
		await admin.page.getByRole("navigation", { name: "Door" }).getByRole("link", { name: "Admin" }).click();
		await admin.page.getByLabel("User name").fill("vera");
		await admin.page.getByRole("button", { name: "Make invitation" }).click();
		await admin.page.getByRole("heading", { name: "Link for vera, viewer" }).waitFor();
		const invitation = await shownOnce(admin.page, "Works once", "invite");
		expect(admin.complaints()).toEqual([]);
		await admin.close();

		const vera = await visit(browser, PICTURE);
		await vera.page.goto(invitation);
		await picture(vera.page, "welcome");
		await choosePassword(vera.page);
		await vera.page.getByText("ingredient-embeddings").first().click();
		await vera.page.getByText("item2vec-16d-seed1").first().waitFor();
		await picture(vera.page, "experiments");
		expect(vera.complaints()).toEqual([]);
		await vera.page.getByText("item2vec-16d-seed1").first().click();
		await vera.page.getByRole("button", { name: "Edit description" }).click();
		await vera.page.locator("textarea").first().fill("Looks good to me.");
		await vera.page.getByRole("button", { name: "Save" }).first().click();
		await vera.page.getByText("This needs the role editor or admin.").waitFor();
		await picture(vera.page, "refused");
		expect(vera.complaints()).toContain("403 /ajax-api/2.0/mlflow/runs/set-tag");
		await vera.close();
	});

	test("a token is made at Account, and its lines are pasted into a client that logs a run", async () => {
		const { page, complaints, close } = await visit(browser, PICTURE);
		await page.goto(`${origin}/login?next=%2Faccount`);
		await signIn(page, "root-admin");
		await page.getByLabel("Name", { exact: true }).fill("laptop");
		await page.getByLabel("Role", { exact: true }).selectOption("editor");
		await page.getByRole("button", { name: "Make token" }).click();
		await page.getByRole("heading", { name: "Token laptop, editor" }).waitFor();
		const pasted =
			(await page
				.locator("h3", { hasText: "Python" })
				.locator("xpath=following-sibling::pre[1]")
				.textContent()) ?? "";
		const shell = await shownOnce(page, "Shell", "token");
		expect(complaints()).toEqual([]);
		await close();

		const said = await run("sh", [
			"-c",
			`${shell}\nprintf '%s %s' "$MLFLOW_TRACKING_URI" "$MLFLOW_TRACKING_TOKEN"`,
		]);
		const [uri, token] = said.stdout.split(" ");
		expect(uri).toBe(origin);
		const logged = await python(`${pasted}
import mlflow
mlflow.set_experiment("first ten minutes")
with mlflow.start_run() as run:
    mlflow.log_metric("loss", 0.5)
print(mlflow.get_run(run.info.run_id).data.metrics["loss"])
`);
		expect(logged.stdout.trim().split("\n").at(-1)).toBe("0.5");
		const who = await fetch(`${origin}/door/whoami`, { headers: { authorization: `Bearer ${token}` } });
		expect(await who.json()).toMatchObject({
			user: "root-admin",
			role: "editor",
			kind: "token",
			name: "laptop",
		});
	});
});

describe("in a browser", () => {
	test("a viewer signs in, sees runs, cannot change anything, and signs out for good", async () => {
		const context = await browser.newContext({ viewport: { width: 1280, height: 800 } });
		const page = await context.newPage();
		await page.goto(`${origin}/`);
		expect(new URL(page.url()).pathname).toBe("/login");
		await page.getByLabel(/name/i).first().fill("vera");
		await page.locator("input[type=password]").first().fill("not her password");
		await page.getByRole("button").first().click();
		expect(await page.locator("[role=alert]").count()).toBeGreaterThan(0);
		await page.getByLabel(/name/i).first().fill("vera");
		await page.locator("input[type=password]").first().fill(PASSWORD);
		await page.getByRole("button").first().click();
		await page.getByText("ingredient-embeddings").first().click();
		await page.getByText("item2vec-16d-seed1").first().waitFor();

		const status = (method: string, path: string, body: unknown) =>
			page.evaluate(
				async ([method, path, body]) => {
					const csrf = document.cookie.match(/mlflow-request-header-X-CSRF-Token=([^;]+)/)?.[1] ?? "";
					const answer = await fetch(path as string, {
						method: method as string,
						headers: { "content-type": "application/json", "X-CSRF-Token": csrf },
						body: JSON.stringify(body),
					});
					return answer.status;
				},
				[method, path, body] as const,
			);
		expect(await status("POST", "/ajax-api/2.0/mlflow/experiments/create", { name: "by vera" })).toBe(403);
		expect(await status("POST", "/ajax-api/2.0/mlflow/runs/search", { experiment_ids: ["0"] })).toBe(200);

		const cookies = await context.cookies();
		const signedOut = await page.evaluate(async () => {
			const csrf = document.cookie.match(/mlflow-request-header-X-CSRF-Token=([^;]+)/)?.[1] ?? "";
			const form = new URLSearchParams();
			return (await fetch("/logout", { method: "POST", headers: { "X-CSRF-Token": csrf }, body: form }))
				.status;
		});
		expect(signedOut).toBeLessThan(400);
		// The old cookie is worth nothing any more, wherever it was copied to.
		const replay = await fetch(`${origin}/door/whoami`, {
			headers: { cookie: cookies.map((cookie) => `${cookie.name}=${cookie.value}`).join("; ") },
		});
		expect(replay.status).toBe(401);
		await context.close();
	});

	test("what is fetched before MLflow's main script has asked for it is what the page then uses, once", async () => {
		const { page, close } = await visit(browser);
		await page.goto(`${origin}/login`);
		await signIn(page, "vera");
		await page.getByText("ingredient-embeddings").first().click();
		await page.getByText("item2vec-16d-seed1").first().click();
		await page.getByText("Parameters").first().waitFor();
		const run = new URL(page.url()).hash;
		const [, experiment, id] = /^#\/experiments\/([^/]+)\/runs\/(\w+)/.exec(run) ?? [];
		for (const hash of [
			`#/compare-runs?runs=${encodeURIComponent(JSON.stringify([id]))}&experiments=${encodeURIComponent(JSON.stringify([experiment]))}`,
			"",
			"#/experiments/0",
			run,
			"#/models",
			"#/models/flavor-ml-embeddings",
			"#/models/flavor-ml-embeddings/versions/1",
		]) {
			const other = await page.context().newPage();
			const asked: string[] = [];
			other.on("request", (request) => asked.push(request.url()));
			await other.goto(`${origin}/${hash}`, { waitUntil: "networkidle" });
			const early = await other
				.locator("link[rel=preload]")
				.evaluateAll((links) => links.map((link) => (link as HTMLLinkElement).href));
			expect(early.length, hash).toBeGreaterThan(2);
			expect(early.map((url) => [url, asked.filter((one) => one === url).length])).toEqual(
				early.map((url) => [url, 1]),
			);
			// The numbers of the parts that MLflow's bundler has loaded.
			const loaded = async () =>
				(
					(await other.evaluate(
						`Object.keys(self).filter((name) => name.startsWith("webpackChunk")).flatMap((name) => self[name].flatMap(([ids]) => ids))`,
					)) as number[]
				).map(String);
			const scripts = early.flatMap((url) => /js\/(\d+)\.[0-9a-f]+\.chunk\.js$/.exec(url)?.[1] ?? []);
			await expect.poll(loaded, { message: hash, timeout: 20_000 }).toEqual(expect.arrayContaining(scripts));
			await other.close();
		}
		await close();
	});

	test("no page of the UI asks for something the door refuses a viewer", async () => {
		const { page, complaints, close } = await visit(browser);
		await page.goto(`${origin}/login`);
		await signIn(page, "vera");
		await page.getByText("ingredient-embeddings").first().click();
		await page.getByText("item2vec-16d-seed1").first().click();
		await page.getByText("Parameters").first().waitFor();
		await picture(page, "run");
		await page.goto(`${origin}/#/models`);
		await page.getByText("flavor-ml-embeddings").first().waitFor();
		// By address: MLflow greets newcomers with a dialog that lies over the list.
		await page.goto(`${origin}/#/models/flavor-ml-embeddings`);
		await page.getByText("Version 1").first().waitFor();
		await picture(page, "model");
		expect(complaints()).toEqual([]);
		await close();
	});
});

describe("MLflow's comparison of runs", () => {
	const RUNS = 5;
	/** Of an experiment of its own, in the order of the comparison. */
	let runs: string[];
	let experiment: string;
	let authorization: string;

	beforeAll(async () => {
		authorization = `Bearer ${await token("editor", "comparison")}`;
		const post = async (path: string, body: object) => {
			const answer = await fetch(`${origin}/api/2.0/mlflow/${path}`, {
				method: "POST",
				headers: { authorization, "content-type": "application/json" },
				body: JSON.stringify(body),
			});
			expect([path, answer.status]).toEqual([path, 200]);
			return await answer.json();
		};
		experiment = (await post("experiments/create", { name: `compared ${Date.now()}` })).experiment_id;
		runs = [];
		for (let n = 0; n < RUNS; n++) {
			const { run } = await post("runs/create", {
				experiment_id: experiment,
				run_name: `tried-${n}`,
				start_time: n,
			});
			const { run_id } = run.info;
			const metric = (key: string, value: number | string) => ({ key, value, timestamp: 1, step: n });
			await post("runs/log-batch", {
				run_id,
				metrics: [metric("loss", n / 3), metric("lost", "NaN"), metric("most", "Infinity")],
				params: [
					{ key: "rate", value: `${n}e-3` },
					{ key: "name", value: "\u00e9 \u2028 <b>\u{1f600}</b>" },
				],
			});
			runs.push(run_id);
		}
	});

	const hashOf = (all: readonly string[]) => {
		const list = (ids: readonly string[]) => encodeURIComponent(JSON.stringify(ids));
		return `#/compare-runs?runs=${list(all)}&experiments=${list([experiment])}`;
	};

	interface Seen {
		/** What the page shows, as soon as it has nothing more to ask. */
		shown: string;
		/** Rows of its tables. */
		rows: string[];
		/** Paths of what was asked about runs. */
		asked: string[];
	}

	/** @param prepare before the page is opened */
	async function see(
		all: readonly string[],
		prepare: (page: Page) => Promise<unknown> = async () => {},
	): Promise<Seen> {
		const { page, close } = await visit(browser);
		try {
			await page.goto(`${origin}/login`);
			await signIn(page, "vera");
			await page.goto("about:blank");
			await prepare(page);
			const asked: string[] = [];
			page.on("request", (request) => {
				const { pathname } = new URL(request.url());
				if (/\/runs(?:\/get)?$/.test(pathname)) asked.push(pathname);
			});
			await page.goto(`${origin}/${hashOf(all)}`, { waitUntil: "networkidle" });
			await settled(page);
			return {
				shown: await page.locator("#root").innerText(),
				rows: await page.locator(".compare-run-table tr").allTextContents(),
				asked,
			};
		} finally {
			await close();
		}
	}

	/** Until the page has shown the same for a second. */
	async function settled(page: Page): Promise<void> {
		let [before, now] = ["", await page.locator("#root").innerText()];
		while (before !== now || now === "") {
			await page.waitForTimeout(1_000);
			[before, now] = [now, await page.locator("#root").innerText()];
		}
	}

	/** As MLflow's page is without the door's script. */
	const stock = async (page: Page) =>
		await page.route("**/door/assets/compare-*.js", (route) => route.abort());

	test("gets of the door what MLflow says to each, to the byte", async () => {
		const all = [...runs, "0".repeat(32)];
		const get = (path: string) => fetch(`${origin}${path}`, { headers: { authorization } });
		const answer = await get(`/door/runs?${new URLSearchParams(all.map((run) => ["run_id", run]))}`);
		const { runs: said, left_out } = await answer.json();
		expect([answer.status, said.length, left_out]).toEqual([200, all.length, []]);
		for (const { run_id, status, content_type, body } of said) {
			const plain = await get(`/ajax-api/2.0/mlflow/runs/get?run_id=${run_id}`);
			expect([status, content_type, body]).toEqual([
				plain.status,
				plain.headers.get("content-type"),
				await plain.text(),
			]);
		}
		expect(said.map(({ status }: { status: number }) => status)).toEqual([...runs.map(() => 200), 404]);
		expect(said[0].body).toContain("NaN");
	});

	test("asks one question for all runs, and shows what it shows when it asks for each", async () => {
		const [one, other] = [await see(runs), await see(runs, stock)];
		expect(one.asked).toEqual(["/door/runs"]);
		expect(other.asked).toEqual(Array(RUNS).fill("/ajax-api/2.0/mlflow/runs/get"));
		expect(one.rows).toEqual(other.rows);
		expect(one.shown).toBe(other.shown);
		const text = one.rows.join("\n");
		for (const [n, run] of runs.entries())
			for (const said of [run, `tried-${n}`, `${n}e-3`]) expect(text).toContain(said);
		for (const said of ["loss", "lost", "NaN", "most", "Infinity", "<b>"]) expect(text).toContain(said);
	});

	test("shows a run that is missing as it shows it when it asks for each", async () => {
		const all = [...runs, "0".repeat(32)];
		const [one, other] = [await see(all), await see(all, stock)];
		expect(one.asked).toEqual(["/door/runs"]);
		expect(other.asked).toHaveLength(RUNS + 1);
		expect(one.rows).toEqual(other.rows);
		expect(one.shown).toBe(other.shown);
		expect(one.rows.join("")).not.toContain("tried-4");
		expect(one.shown).toContain("An error occurred");
	});

	test.each<[string, (page: Page) => Promise<unknown>]>([
		["cannot be had", (page) => page.route("**/door/runs?*", (route) => route.abort())],
		[
			"is a refusal",
			(page) => page.route("**/door/runs?*", (route) => route.fulfill({ status: 503, json: {} })),
		],
		["is no JSON", (page) => page.route("**/door/runs?*", (route) => route.fulfill({ body: "<p>" }))],
	])("asks for each where the door's answer %s", async (_, prepare) => {
		const [one, other] = [await see(runs, prepare), await see(runs, stock)];
		expect(one.asked.toSorted()).toEqual([...other.asked, "/door/runs"].toSorted());
		expect(one.rows).toEqual(other.rows);
		expect(one.rows.join("")).toContain("tried-4");
	});

	test("in the page that is open already asks for each, and other pages ask the door for none", async () => {
		const { page, complaints, close } = await visit(browser);
		await page.goto(`${origin}/login`);
		await signIn(page, "vera");
		await page.goto("about:blank");
		const asked: string[] = [];
		page.on("request", (request) => asked.push(new URL(request.url()).pathname));
		await page.goto(`${origin}/${hashOf(runs)}`);
		await page.getByText("tried-4").first().waitFor();
		expect(asked.filter((path) => path.endsWith("/runs/get"))).toEqual([]);
		await page.evaluate("location.hash = '#/experiments/0'");
		await page.locator(".compare-run-table").first().waitFor({ state: "detached" });
		await page.evaluate(`location.hash = ${JSON.stringify(hashOf(runs.slice(0, 2)))}`);
		await expect.poll(() => asked.filter((path) => path.endsWith("/runs/get")).length).toBe(2);
		expect(asked.filter((path) => path === "/door/runs")).toHaveLength(1);
		expect(complaints()).toEqual([]);
		await close();
	});
});
