/** Promotion is deployment: by command, in MLflow's pages, and not at all if the artifact is no good. */
import type { Browser } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { launch, picture } from "../support/chromium.ts";
import { mlgate, mustAnswer, mustRun, stackPort, token } from "../support/mlgate.ts";
import {
	type Asking,
	clearStages,
	keepAsking,
	MODEL,
	QUESTION,
	register,
	stages,
} from "../support/models.ts";

const PASSWORD = "correct horse battery staple";

let uri: string;
let editor: string;
let viewer: string;
let trained: string;
let good: string[];
let damaged: string;

beforeAll(async () => {
	uri = `http://localhost:${await stackPort()}`;
	editor = await token("editor", "promotion");
	viewer = await token("viewer", "promotion-asks");
	trained = (await mustAnswer(["train", "--epochs", "2"])).runs[0].model_version;
	const [one = "", two = "", three = "", broken = ""] = await register(uri, editor, [
		...(["whole", "whole", "whole"] as const),
		"damaged",
	]);
	good = [one, two, three];
	damaged = broken;
});

afterAll(() => clearStages(uri, editor));

// biome-ignore lint/suspicious/noExplicitAny: each test names the fields it looks at
async function get(path: string): Promise<any> {
	return (await fetch(uri + path, { headers: { authorization: `Bearer ${viewer}` } })).json();
}

/** Asks all the while that `work` takes, and fails if one request did. */
async function whileAsked(work: (asking: Asking) => Promise<void>): Promise<void> {
	const asking = keepAsking(uri, viewer);
	let asked = 0;
	try {
		await work(asking);
	} finally {
		asked = await asking.stop();
	}
	expect(asking.failures).toEqual([]);
	expect(asked).toBeGreaterThan(10);
}

describe("promoted by command", () => {
	test("what was trained answers, and names its version", async () => {
		const said = await mustAnswer(["promote", MODEL, trained]);
		expect(said).toMatchObject({ version: trained, stage: "Staging", serves: true });
		const answer = await get(QUESTION);
		expect(answer).toMatchObject({ model: MODEL, version: trained, ingredient: "盐" });
		expect(answer.neighbours).toHaveLength(5);
		expect(await mustAnswer(["promote", "--status"])).toMatchObject({
			served: { version: trained },
			inStage: { version: trained, promotion: { stage: "Staging" } },
		});
	});

	test("a newer one takes over while requests run, and none fails", async () => {
		await whileAsked(async (asking) => {
			await mustRun(["promote", MODEL, good[0] ?? ""]);
			await asking.until(good[0] ?? "");
		});
	});

	test("one whose artifact is damaged: exit 5, the stage is back, the old one never stopped", async () => {
		const before = await stages(uri, editor);
		await whileAsked(async (asking) => {
			const ended = await mlgate(["promote", MODEL, damaged]);
			expect(ended.code).toBe(5);
			expect(ended.stderr).toMatch(/cannot be served/);
			expect(asking.versions).toEqual([good[0]]);
		});
		expect(await stages(uri, editor)).toEqual(before);
		const { version, last_failure } = await get("/inference/model");
		expect(version).toBe(good[0]);
		expect(last_failure).toMatchObject({ version: damaged, reason: expect.any(String) });
		expect((await mustRun(["status"])).code).toBe(0);
	});

	test("a version that is not there: exit 3, and nothing moved", async () => {
		const before = await stages(uri, editor);
		expect((await mlgate(["promote", MODEL, "987654"])).code).toBe(3);
		expect(await stages(uri, editor)).toEqual(before);
	});
});

describe("promoted in MLflow's pages", () => {
	let browser: Browser;
	beforeAll(async () => {
		browser = await launch();
		await mlgate(["users", "add", "eddi", "--role", "editor", "--password-stdin"], { input: PASSWORD });
	});
	afterAll(() => browser?.close());

	test("by an editor in a browser: it is served within ten seconds, and no request fails", async () => {
		const version = good[1] ?? "";
		const context = await browser.newContext({ viewport: { width: 1280, height: 900 } });
		const page = await context.newPage();
		await page.goto(`${uri}/login`);
		await page.getByLabel(/name/i).first().fill("eddi");
		await page.locator("input[type=password]").first().fill(PASSWORD);
		await page.getByRole("button").first().click();
		await page.getByText("Experiments").first().waitFor();
		// Stages are on the registry's classic pages; the switch for them is on every page of a model.
		await page.goto(`${uri}/#/models/${MODEL}/versions/${version}`);
		await page.getByText(`Version ${version}`).first().waitFor();
		await picture(page, "version");
		await toClassicPages();
		await page.locator(".stage-transition-dropdown, [data-test-id=stage-transition]").first().click();
		await page.getByRole("menuitem", { name: /Staging/ }).click();
		await whileAsked(async (asking) => {
			await page.getByRole("dialog").getByRole("button", { name: "OK" }).click();
			await asking.until(version, 10_000);
		});
		await picture(page, "promoted");
		await context.close();

		async function toClassicPages(): Promise<void> {
			const toggle = page.getByRole("switch");
			if ((await toggle.count()) === 0 || (await toggle.getAttribute("aria-checked")) === "false") return;
			await toggle.click();
			await page.getByRole("dialog").getByRole("button").last().click();
		}
	});
});
