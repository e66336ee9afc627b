import type { Browser } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { launch, picture } from "../support/chromium.ts";
import { mlgate, mustAnswer, mustRun, stackPort } from "../support/mlgate.ts";

let browser: Browser;
let origin: string;

beforeAll(async () => {
	origin = `http://localhost:${await stackPort()}`;
	browser = await launch();
});
afterAll(() => browser?.close());

const PASSWORD = "correct horse battery staple";

describe("in a browser", () => {
	test("the first admin's one-time link makes an admin once, and leads into the MLflow UI", async () => {
		const up = await mustRun(["up", "--yes"]);
		const link = /http:\/\/localhost:\d+\/invite\/\S+/.exec(up.stdout + up.stderr)?.[0];
		expect(link).toBeDefined();
		const page = await browser.newPage();
		await page.goto(link ?? "");
		await picture(page, "first-admin");
		await page.getByLabel(/name/i).first().fill("root-admin");
		await page.locator("input[type=password]").first().fill(PASSWORD);
		const second = page.locator("input[type=password]").nth(1);
		if (await second.count()) await second.fill(PASSWORD);
		await page.getByRole("button").first().click();
		await page.waitForURL(`${origin}/**`);
		await page.goto(`${origin}/`);
		await page.getByText("Experiments").first().waitFor();
		expect(await page.evaluate(async () => (await fetch("/door/whoami")).json())).toMatchObject({
			user: "root-admin",
			role: "admin",
		});
		await page.context().close();

		const again = await browser.newPage();
		await again.goto(link ?? "");
		expect(await again.locator("input[type=password]").count()).toBe(0);
		await again.context().close();
		const users = await mustAnswer(["users", "list"]);
		expect(JSON.stringify(users)).toContain("root-admin");
		// Once there is an admin, `up` offers no link any more.
		const later = await mustRun(["up", "--yes"]);
		expect(later.stdout + later.stderr).not.toContain("/invite/");
	});

	test("a viewer signs in, sees runs, cannot change anything, and signs out for good", async () => {
		await mustRun(["train", "--epochs", "2", "--runs", "2"]);
		expect(
			(await mlgate(["users", "add", "vera", "--role", "viewer", "--password-stdin"], { input: PASSWORD }))
				.code,
		).toBe(0);
		const context = await browser.newContext({ viewport: { width: 1280, height: 800 } });
		const page = await context.newPage();
		await page.goto(`${origin}/`);
		expect(new URL(page.url()).pathname).toBe("/login");
		await picture(page, "login");
		await page.getByLabel(/name/i).first().fill("vera");
		await page.locator("input[type=password]").first().fill("not her password");
		await page.getByRole("button").first().click();
		expect(await page.locator("[role=alert]").count()).toBeGreaterThan(0);
		await page.getByLabel(/name/i).first().fill("vera");
		await page.locator("input[type=password]").first().fill(PASSWORD);
		await page.getByRole("button").first().click();
		await page.getByText("ingredient-embeddings").first().click();
		await page.getByText("item2vec-16d-seed1").first().waitFor();
		await picture(page, "experiments");

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

	test("no page of the UI asks for something the door refuses a viewer", async () => {
		const context = await browser.newContext();
		const page = await context.newPage();
		const refused: string[] = [];
		page.on("response", (answer) => {
			if (answer.status() >= 400) refused.push(`${answer.status()} ${new URL(answer.url()).pathname}`);
		});
		await page.goto(`${origin}/login`);
		await page.getByLabel(/name/i).first().fill("vera");
		await page.locator("input[type=password]").first().fill(PASSWORD);
		await page.getByRole("button").first().click();
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
		expect(refused).toEqual([]);
		await context.close();
	});
});
