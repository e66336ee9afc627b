/** Every page of the door and the main ones of MLflow in Chromium, as viewer and as editor. */
import { readFileSync } from "node:fs";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { LOWEST_CONTRAST, launch } from "../support/chromium.ts";
import { python } from "../support/client.ts";
import { mustRun, stackPort, token } from "../support/mlgate.ts";
import { PASSWORD, signIn, type Visitor, visit } from "../support/visitor.ts";

/** Another one each time: with a stack that was kept, users and experiments of the last time are still there. */
const GALLERY = `gallery-${Date.now().toString(36)}`;
const NAMES = {
	viewer: `${GALLERY}-viewer`,
	editor: `${GALLERY}-editor`,
	admin: `${GALLERY}-admin`,
} as const;
type Who = keyof typeof NAMES;

let browser: Browser;
let origin: string;
let admin: string;
let experiment: string;
let runs: string[];

beforeAll(async () => {
	origin = `http://localhost:${await stackPort()}`;
	admin = await token("admin", `${GALLERY}-token`);
	for (const [role, name] of Object.entries(NAMES))
		await mustRun(["users", "add", name, "--role", role, "--password-stdin"], { input: PASSWORD });
	const seed = readFileSync(new URL("../support/gallery.py", import.meta.url), "utf8");
	const seeded = await python(seed, { GALLERY, MLFLOW_TRACKING_URI: origin, MLFLOW_TRACKING_TOKEN: admin });
	({ experiment, runs } = JSON.parse(seeded.stdout.trim().split("\n").at(-1) ?? ""));
	browser = await launch();
});
afterAll(() => browser?.close());

async function member(who: Who, options: Parameters<typeof visit>[1] = {}): Promise<Visitor> {
	const visitor = await visit(browser, options);
	await visitor.page.goto(`${origin}/login`);
	await signIn(visitor.page, NAMES[who]);
	return visitor;
}

const list = (value: unknown) => encodeURIComponent(JSON.stringify(value));
const run = () => `/#/experiments/${experiment}/runs/${runs[0]}`;
const file = (name: string) => `${run()}/artifacts/${name}`;
const plot = ".js-plotly-plot .main-svg:visible";

/** Pages of MLflow, and what is on each of them once it is whole. */
const THEIRS: readonly [string, () => string, (page: Page) => ReturnType<Page["locator"]>][] = [
	["experiment", () => `/#/experiments/${experiment}`, (page) => page.getByText("run-2")],
	[
		"charts of an experiment",
		() => `/#/experiments/${experiment}?compareRunsMode=CHART`,
		(page) => page.locator(plot),
	],
	["run", run, (page) => page.getByText("with words")],
	["metrics of a run", () => `${run()}/model-metrics`, (page) => page.locator(plot)],
	[
		"metric chart",
		() =>
			`/#/metric?runs=${list(runs)}&metric=${list("loss")}&experiments=${list([experiment])}&plot_metric_keys=${list(["loss"])}`,
		(page) => page.locator(plot),
	],
	[
		"comparison",
		() => `/#/compare-runs?runs=${list(runs)}&experiments=${list([experiment])}`,
		(page) => page.locator(plot),
	],
	["MLmodel", () => file("model/MLmodel"), (page) => page.getByText("python_function")],
	["HTML", () => file("page.html"), (page) => page.frameLocator("iframe").getByText("A report")],
	["SVG", () => file("drawing.svg"), (page) => page.locator("img[src^='blob:'], img[src*='get-artifact']")],
	[
		"picture",
		() => file("picture.png"),
		(page) => page.locator("img[src^='blob:'], img[src*='get-artifact']"),
	],
	["CSV", () => file("table.csv"), (page) => page.getByText("Previewing the first 2 rows")],
	["text", () => file("notes.txt"), (page) => page.getByText("plain words")],
	["JSON", () => file("data.json"), (page) => page.getByText('"a"')],
	["models", () => "/#/models", (page) => page.getByRole("link", { name: GALLERY, exact: true })],
	["model", () => `/#/models/${GALLERY}`, (page) => page.getByText("Version 1")],
	["model version", () => `/#/models/${GALLERY}/versions/1`, (page) => page.getByText("Registered At")],
];

const OURS = ["/account", "/status", "/logout"] as const;
const ADMINS = ["/admin", "/admin/tokens", "/admin/sessions", "/admin/audit"] as const;

describe.each(["viewer", "editor"] as const)("as %s", (who) => {
	test("MLflow's pages work: no error, no breach of the policy, nothing refused", async () => {
		const { page, complaints, close } = await member(who);
		for (const [name, path, shown] of THEIRS) {
			// Afresh: from one `#...` to the next is no new page.
			await page.goto("about:blank");
			await page.goto(origin + path());
			await shown(page)
				.first()
				.waitFor({ timeout: 60_000 })
				.catch((error) => {
					throw new Error(`${name}: ${error.message}\n${complaints().join("\n")}`);
				});
			expect([name, complaints()]).toEqual([name, []]);
		}
		for (const kind of ["Scatter Plot", "Box Plot", "Contour Plot"]) {
			await page.goto("about:blank");
			await page.goto(`${origin}/#/compare-runs?runs=${list(runs)}&experiments=${list([experiment])}`);
			await page.getByRole("tab", { name: kind }).click();
			await page.getByRole("tab", { name: kind, selected: true }).waitFor();
			// It draws nothing before it is told what, and takes the first of each for good.
			if (kind === "Box Plot")
				for (const axis of await page.locator("[role=combobox]:visible").all()) {
					await axis.click();
					await page.keyboard.press("Enter");
				}
			await page.locator(plot).first().waitFor();
			expect([kind, complaints()]).toEqual([kind, []]);
		}
		await close();
	});

	test("the strip over MLflow says who I am and leads to the door's pages, which complain of nothing", async () => {
		const { page, complaints, close } = await member(who);
		await page.goto(`${origin}/#/experiments/${experiment}`);
		const strip = page.getByRole("navigation", { name: "Door" });
		expect(await strip.textContent()).toContain(`${NAMES[who]} · ${who}`);
		await strip.getByRole("link", { name: "Account" }).click();
		await page.getByRole("heading", { name: "API tokens" }).waitFor();
		for (const path of OURS) {
			await page.goto(origin + path);
			expect([path, complaints()]).toEqual([path, []]);
		}
		await page.getByRole("button", { name: "Sign out" }).click();
		await page.getByText("You are signed out").waitFor();
		expect(complaints()).toEqual([]);
		await close();
	});
});

describe("a note", () => {
	const NOTE = "noted by the editor";
	async function note(page: Page, text: string): Promise<void> {
		await page.goto(origin + run());
		await page.getByRole("button", { name: "Edit description" }).click();
		await page.locator("textarea").first().fill(text);
		await page.getByRole("button", { name: "Save" }).first().click();
	}

	test("is an editor's to write: the page sends the CSRF pair by itself", async () => {
		const { page, complaints, close } = await member("editor");
		await note(page, `${NOTE}\n\n<svg onload="document.title='owned'"></svg>[x](javascript:alert(1))`);
		await page.locator("textarea").first().waitFor({ state: "hidden" });
		await page.getByText(NOTE).first().waitFor();
		await page.reload();
		await page.getByText(NOTE).first().waitFor();
		expect(await page.title()).not.toBe("owned");
		expect(await page.locator("a[href^='javascript:']").count()).toBe(0);
		expect(complaints()).toEqual([]);
		await close();
	});

	test("of a viewer is refused where they stand, with the role that would do", async () => {
		const { page, complaints, close } = await member("viewer");
		await note(page, "by the viewer");
		await page.getByText("This needs the role editor or admin.").waitFor();
		expect(complaints()).toContain("403 /ajax-api/2.0/mlflow/runs/set-tag");
		await close();
		const read = await fetch(`${origin}/api/2.0/mlflow/runs/get?run_id=${runs[0]}`, {
			headers: { authorization: `Bearer ${admin}` },
		});
		expect(await read.text()).not.toContain("by the viewer");
	});
});

describe("an artifact with a script in it", () => {
	const owned = async () => {
		const answer = await fetch(
			`${origin}/api/2.0/mlflow/experiments/get-by-name?experiment_name=owned-${GALLERY}`,
			{
				headers: { authorization: `Bearer ${admin}` },
			},
		);
		return answer.status;
	};

	test.each(["hostile.html", "hostile.svg"])(
		"%s does nothing in an editor's name, shown by MLflow",
		async (name) => {
			const { page, close } = await member("editor");
			await page.addInitScript(
				'addEventListener("message", ({ data }) => { if (data === "owned") window.owned = true; })',
			);
			await page.goto(origin + file(name));
			await page.locator("iframe, img[src^='blob:'], img[src*='get-artifact']").first().waitFor();
			await page.waitForTimeout(1_500);
			expect(await page.evaluate("window.owned === true")).toBe(false);
			for (const frame of page.frames())
				expect(await frame.evaluate("document.documentElement.dataset.owned")).toBe(undefined);
			expect(await owned()).toBe(404);
			await close();
		},
	);

	test.each(["hostile.html", "hostile.svg"])("%s is a download when its address is opened", async (name) => {
		const { page, close } = await member("editor");
		const saved = page.waitForEvent("download");
		await page.goto(`${origin}/get-artifact?path=${name}&run_uuid=${runs[0]}`).catch(() => {});
		expect((await saved).suggestedFilename()).toBe(name);
		expect(await owned()).toBe(404);
		await close();
	});

	test("runs nothing even where somebody frames it, or opens it as an image of its own", async () => {
		const answer = await fetch(`${origin}/get-artifact?path=hostile.html&run_uuid=${runs[0]}`, {
			headers: { authorization: `Bearer ${admin}` },
		});
		expect(answer.headers.get("content-security-policy")).toMatch(/^sandbox; default-src 'none';/);
		expect(answer.headers.get("x-content-type-options")).toBe("nosniff");
		expect(answer.headers.get("cross-origin-resource-policy")).toBe("same-origin");
	});
});

describe("a session that ends under an open page of MLflow", () => {
	test("yields JSON errors and one clear way back, to the very place", async () => {
		const { page, complaints, close } = await member("viewer");
		const place = `/experiments/${experiment}`;
		await page.goto(`${origin}/#${place}`);
		await page.getByText("run-2").first().waitFor();
		expect(complaints()).toEqual([]);
		// Whatever ends it: the browser still has its cookie and does not know.
		await mustRun(["users", "disable", NAMES.viewer]);
		await mustRun(["users", "enable", NAMES.viewer]);
		const refused = page.waitForResponse((answer) => answer.status() === 401);
		await page.getByText("run-1").first().click();
		expect((await (await refused).request().response())?.headers()["content-type"]).toContain(
			"application/json",
		);
		const strip = page.getByRole("navigation", { name: "Door" });
		await strip.getByText("Your session is over.").waitFor();
		expect(
			await strip
				.getByRole("link")
				.evaluateAll((links) => links.filter((link) => link.checkVisibility()).length),
		).toBe(1);
		await strip.getByRole("link", { name: "Sign in again" }).click();
		await page.waitForURL(`${origin}/login**`);
		const there = new URL(page.url()).hash;
		expect(there).toMatch(new RegExp(`^#${place}`));
		complaints();
		await signIn(page, NAMES.viewer);
		expect(page.url()).toBe(`${origin}/${there}`);
		await page.getByText("run-1").first().waitFor();
		expect(complaints()).toEqual([]);
		await close();
	});
});

describe("how the door's pages look and feel", () => {
	test.each([
		["light", 1280],
		["dark", 1280],
		["light", 360],
		["dark", 360],
	] as const)(
		"%s, %d wide: nothing scrolls sideways, every text can be read, nothing complains",
		async (colorScheme, width) => {
			const { page, complaints, close } = await member("admin", {
				colorScheme,
				viewport: { width, height: 740 },
			});
			for (const path of [...OURS, ...ADMINS]) {
				await page.goto(origin + path);
				expect([path, await page.evaluate("document.documentElement.scrollWidth")]).toEqual([path, width]);
				const ground = await page.evaluate("getComputedStyle(document.body).backgroundColor");
				expect([path, await page.evaluate(LOWEST_CONTRAST)]).toEqual([
					path,
					expect.toSatisfy((lowest) => lowest >= 4.5),
				]);
				expect([path, ground]).toEqual([
					path,
					colorScheme === "light" ? "rgb(238, 241, 247)" : "rgb(15, 19, 28)",
				]);
			}
			expect(complaints()).toEqual([]);
			await close();
		},
	);

	test("a token is made and revoked by keyboard alone, and the focus is always seen", async () => {
		const { page, complaints, close } = await member("editor");
		await page.goto(`${origin}/account`);
		const seen = () =>
			page.evaluate(
				"(({ outlineStyle, outlineWidth }) => outlineStyle + ' ' + outlineWidth)(getComputedStyle(document.activeElement))",
			);
		const focus = () =>
			page.evaluate("document.activeElement.textContent.trim() || document.activeElement.name");
		async function tabTo(what: RegExp): Promise<void> {
			for (let stops = 0; stops < 60; stops++) {
				await page.keyboard.press("Tab");
				expect(await seen()).toBe("solid 2px");
				if (what.test(String(await focus()))) return;
			}
			throw new Error(`the keyboard never comes to ${what}`);
		}
		await tabTo(/^Skip to the page$/);
		await page.keyboard.press("Enter");
		await tabTo(/^name$/);
		await page.keyboard.type("by keyboard");
		await tabTo(/^Make token$/);
		await page.keyboard.press("Enter");
		await page.getByRole("heading", { name: "Token by keyboard, viewer" }).waitFor();
		const text = /MLFLOW_TRACKING_TOKEN='(eyJ[^']+)'/.exec((await page.textContent("pre")) ?? "")?.[1] ?? "";
		const works = () => fetch(`${origin}/door/whoami`, { headers: { authorization: `Bearer ${text}` } });
		expect((await works()).status).toBe(200);
		await page.goto(`${origin}/account`);
		await tabTo(/^Revoke by keyboard$/);
		await page.keyboard.press("Enter");
		await page.getByText("The token is revoked.").waitFor();
		expect((await works()).status).toBe(401);
		expect(complaints()).toEqual([]);
		await close();
	});

	test("every field, button and table has a name that is read out", async () => {
		const { page, close } = await member("admin");
		for (const path of [...OURS, ...ADMINS]) {
			await page.goto(origin + path);
			const nameless =
				await page.evaluate(`[...document.querySelectorAll("input:not([type=hidden]):not([hidden]), select, button, a, table, nav")]
				.filter((node) => !(node.getAttribute("aria-label") || node.labels?.length || node.caption?.textContent || node.textContent.trim()))
				.map((node) => node.outerHTML)`);
			expect([path, nameless]).toEqual([path, []]);
			expect(await page.locator("h1").count()).toBe(1);
		}
		await close();
	});
});
