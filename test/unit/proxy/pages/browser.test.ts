import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import type { Browser, BrowserContextOptions, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import {
	ACTOR,
	fresh,
	PASSWORD,
	serve,
	startAccounts,
	type TestAccounts,
	type TestServer,
} from "../../../support/accounts.ts";
import { LOWEST_CONTRAST, launch } from "../../../support/chromium.ts";
import { startPostgres, type TestPostgres } from "../../../support/postgres.ts";

let postgres: TestPostgres;
let accounts: TestAccounts;
let server: TestServer;
let browser: Browser;
/** What the browser complained about: blocked by policy, not found, failed. */
let complaints: string[] = [];

beforeAll(async () => {
	postgres = await startPostgres();
	accounts = await startAccounts(await postgres.database());
	server = await serve(accounts);
	browser = await launch();
}, 60_000);

afterAll(async () => {
	await browser?.close();
	await server?.close();
	await accounts?.remove();
	await postgres?.close();
});

afterEach(async () => {
	for (const context of browser.contexts()) await context.close();
	expect(complaints).toEqual([]);
});

async function open(path: string, options: BrowserContextOptions = {}): Promise<Page> {
	complaints = [];
	const page = await (await browser.newContext(options)).newPage();
	page.on("console", (message) => {
		// The browser notes every answer of 400 and more; those are looked at as answers.
		if (!message.text().startsWith("Failed to load resource")) complaints.push(message.text());
	});
	page.on("pageerror", (error) => complaints.push(String(error)));
	await page.goto(server.origin + path);
	return page;
}

/** The browser puts the focus there itself, some time after the page is loaded. */
const focusOn = (page: Page, id: string) => page.waitForFunction(`document.activeElement.id === "${id}"`);

const who = async (page: Page) => JSON.parse((await page.textContent("body")) ?? "");

describe("in a browser, by keyboard alone", () => {
	it("the first admin comes in by the link, signs out, and signs in again where the way led", async () => {
		const link = await accounts.links.firstAdmin(ACTOR);
		const page = await open(link?.path ?? "");
		await focusOn(page, "username");
		expect(await page.inputValue("#username")).toBe("admin");
		await page.keyboard.press("Tab");
		await page.keyboard.type(PASSWORD);
		await page.keyboard.press("Tab");
		await page.keyboard.type(PASSWORD);
		await page.keyboard.press("Enter");
		await page.waitForURL(`${server.origin}/`);
		expect(await who(page)).toMatchObject({ kind: "session", user: "admin", role: "admin" });

		await page.goto(`${server.origin}/logout`);
		await page.keyboard.press("Tab");
		await page.keyboard.press("Enter");
		await page.waitForSelector("text=You are signed out");

		// What stands behind `#` never reaches us, and is where MLflow keeps the experiment one was looking at.
		await page.goto(`${server.origin}/x?y=1#/experiments/7`);
		expect(page.url()).toBe(`${server.origin}/login?next=%2Fx%3Fy%3D1#/experiments/7`);
		await focusOn(page, "username");
		await page.keyboard.type("admin");
		await page.keyboard.press("Tab");
		await page.keyboard.type("wrong wrong wrong");
		await page.keyboard.press("Enter");
		await page.waitForSelector("#password-error");
		await focusOn(page, "password");
		await page.keyboard.type(PASSWORD);
		await page.keyboard.press("Enter");
		await page.waitForURL(`${server.origin}/x?y=1#/experiments/7`);
		expect(await who(page)).toMatchObject({ user: "admin" });
	}, 60_000);
});

describe("a page of ours", () => {
	it("can read the CSRF pair, not the session, and may write with it", async () => {
		const name = fresh("ada");
		await accounts.users.add(ACTOR, { name, role: "editor", password: PASSWORD });
		const page = await open("/login");
		await page.fill("#username", name);
		await page.fill("#password", PASSWORD);
		await page.click("button");
		await page.waitForURL(`${server.origin}/`);
		const cookies = (await page.evaluate("document.cookie")) as string;
		expect(cookies).toMatch(/^mlflow-request-header-X-CSRF-Token=[\w-]{43}$/);
		const write = (headers: string) =>
			page.evaluate(
				`fetch("/write", { method: "POST", headers: ${headers} }).then((answer) => answer.json())`,
			);
		expect(await write("{}")).toMatchObject({ refused: "CSRF_TOKEN" });
		expect(await write(`{ "X-CSRF-Token": document.cookie.split("=")[1] }`)).toMatchObject({ user: name });
		expect(await write(`{ "X-CSRF-Token": document.cookie.split("=")[1] }`)).not.toHaveProperty("refused");
	}, 60_000);
});

describe("a page of another origin", () => {
	it("can neither sign anybody in nor out, from another site or from another port of this host", async () => {
		const attacker = createServer((req, res) => {
			const target = new URL(req.url ?? "/", server.origin);
			const fields = [...target.searchParams]
				.map(([name, value]) => `<input name="${name}" value="${value}">`)
				.join("");
			res.setHeader("content-type", "text/html");
			res.end(
				`<form method="post" action="${server.origin}${target.pathname}">${fields}<button>go</button></form>`,
			);
		});
		await new Promise<void>((resolve) => attacker.listen(0, "127.0.0.1", resolve));
		const { port } = attacker.address() as AddressInfo;
		const name = fresh("ada");
		await accounts.users.add(ACTOR, { name, role: "editor", password: PASSWORD });
		const page = await open("/login");
		await page.fill("#username", name);
		await page.fill("#password", PASSWORD);
		await page.click("button");
		await page.waitForURL(`${server.origin}/`);
		const login = new URLSearchParams({ username: "admin", password: PASSWORD });
		for (const host of ["127.0.0.1", "localhost"]) {
			for (const path of [`/login?${login}`, "/logout?csrf=x"]) {
				await page.goto(`http://${host}:${port}${path}`);
				const answer = page.waitForResponse((response) => response.request().method() === "POST");
				await page.click("button");
				expect((await answer).status()).toBe(403);
			}
		}
		await page.goto(`${server.origin}/`);
		expect(await who(page)).toMatchObject({ user: name });
		await new Promise((resolve) => attacker.close(resolve));
	}, 60_000);
});

describe("how it looks", () => {
	it.each(["light", "dark"] as const)(
		"is readable in %s, and fits a narrow phone",
		async (colorScheme) => {
			const { link } = await accounts.links.invite(ACTOR, { name: fresh("grace"), role: "viewer" });
			const page = await open("/login", { colorScheme, viewport: { width: 320, height: 640 } });
			const grounds = new Set<unknown>();
			for (const path of ["/login", "/logout", link.path, "/invite/x"]) {
				await page.goto(server.origin + path);
				if (path === link.path) {
					await page.fill("#password", "aaaaaaaaaaaa");
					await page.fill("#repeat", "aaaaaaaaaaaa");
					await page.click("button");
					await page.waitForSelector("#password-error");
				}
				expect(await page.evaluate(LOWEST_CONTRAST), `${path} ${colorScheme}`).toBeGreaterThanOrEqual(4.5);
				expect(await page.evaluate("document.documentElement.scrollWidth")).toBeLessThanOrEqual(320);
				grounds.add(await page.evaluate("getComputedStyle(document.body).backgroundColor"));
			}
			expect([...grounds]).toEqual([colorScheme === "light" ? "rgb(238, 241, 247)" : "rgb(15, 19, 28)"]);
		},
		30_000,
	);

	it("shows where the keyboard is", async () => {
		const page = await open("/login");
		const outline = () => page.evaluate("getComputedStyle(document.activeElement).outlineStyle");
		await focusOn(page, "username");
		for (let stop = 0; stop < 3; stop++) {
			expect(await outline()).toBe("solid");
			await page.keyboard.press("Tab");
		}
	}, 60_000);
});
