/** Promotion is deployment: by command, in MLflow's pages, and not at all if the artifact is no good. */
import type { Browser } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { PATH, SERVICE_FILE } from "../../infra/contract.ts";
import { launch, picture } from "../support/chromium.ts";
import { docker, mlgate, mustAnswer, mustRun, NAME, stackPort, token } from "../support/mlgate.ts";
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
		// MLflow greets newcomers with a dialog that lies over the page.
		await context.addInitScript(() =>
			localStorage.setItem("_mlflow_model_registry_promo_modal_dismissed", "true"),
		);
		const page = await context.newPage();
		await page.goto(`${uri}/login`);
		await page.getByLabel(/name/i).first().fill("eddi");
		await page.locator("input[type=password]").first().fill(PASSWORD);
		await page.getByRole("button").first().click();
		await page.getByText("Experiments").first().waitFor();
		await page.goto(`${uri}/#/models/${MODEL}/versions/${version}`);
		// Stages are on the registry's classic pages.
		await page.getByRole("switch", { name: "New model registry UI" }).click();
		await page.getByRole("button", { name: "Disable" }).click();
		await page.locator(".stage-transition-dropdown").first().click();
		await page.getByText("Staging", { exact: true }).last().click();
		await picture(page, "promoting");
		await whileAsked(async (asking) => {
			await page.getByRole("button", { name: "OK", exact: true }).click();
			await asking.until(version, 10_000);
		});
		await picture(page, "promoted");
		await context.close();
	});
});

describe("signing keys rotated and the API's token renewed, while requests run", () => {
	const inApi = (...args: string[]) => docker("exec", `${NAME}-api`, ...args);
	const serviceToken = async () => await inApi("cat", `${PATH.service}/${SERVICE_FILE.token}`);
	const kidOf = (text: string): string =>
		JSON.parse(Buffer.from(text.split(".")[0] ?? "", "base64url").toString()).kid;

	test("a new key signs, old tokens go on, and the API follows its stage with a token of the new key", async () => {
		const before = await serviceToken();
		await whileAsked(async (asking) => {
			const { keys } = await mustAnswer(["rotate", "keys"]);
			expect(keys.at(-2)).toMatchObject({ id: kidOf(before), state: "believed" });
			expect(keys.at(-1)).toMatchObject({ state: "signs", tokens: 0 });
			expect(kidOf(await serviceToken())).toBe(keys.at(-1).id);
			expect((await get("/door/jwks.json")).keys.map(({ kid }: { kid: string }) => kid)).toEqual(
				keys.map(({ id }: { id: string }) => id),
			);
			await mustRun(["promote", MODEL, good[2] ?? ""]);
			await asking.until(good[2] ?? "");
		});
		// No container was changed for it.
		expect(await mustAnswer(["up", "--yes"])).toMatchObject({
			changed: false,
			serviceToken: { renewed: false },
		});
	});

	test("somebody revokes the API's token: it has another one in moments, and nobody notices", async () => {
		const before = await serviceToken();
		const { tokens } = await mustAnswer(["tokens", "list"]);
		const own = tokens.findLast((one: { scope: string; state: string }) => one.scope === "models");
		expect(own).toMatchObject({ role: "viewer", user: "inference-api", state: "active" });
		await whileAsked(async () => {
			await mustRun(["tokens", "revoke", own.id]);
			await expect.poll(serviceToken, { timeout: 60_000 }).not.toBe(before);
			await expect
				.poll(async () => (await get("/inference/model")).tracking.reachable, { timeout: 60_000 })
				.toBe(true);
		});
	});

	test("retiring the older keys ends what they signed, after a yes, and nothing else", async () => {
		const fresh = await token("viewer", "of-the-new-key");
		const ask = async (secret: string) =>
			(await fetch(`${uri}/door/whoami`, { headers: { authorization: `Bearer ${secret}` } })).status;
		const refused = await mlgate(["rotate", "keys", "--retire"]);
		expect(refused.code).toBe(6);
		expect(refused.stderr).toMatch(/\d+ tokens? and \d+ sessions?/);
		expect([await ask(viewer), await ask(fresh)]).toEqual([200, 200]);
		const asking = keepAsking(uri, fresh);
		const said = await mustAnswer(["rotate", "keys", "--retire", "--yes"]);
		expect(said).toMatchObject({ keys: [{ state: "signs" }], ended: { tokens: expect.any(Number) } });
		expect([await ask(viewer), await ask(fresh)]).toEqual([401, 200]);
		// What cleans up afterwards needs one, too.
		[viewer, editor] = [fresh, await token("editor", "promotion")];
		await mustRun(["promote", MODEL, good[2] ?? ""]);
		expect(await asking.stop()).toBeGreaterThan(10);
		expect(asking.failures).toEqual([]);
		expect((await mlgate(["rotate", "keys", "--retire", "--yes"])).code).toBe(3);
	});
});
