/** Somebody in Chromium, and everything that their browser complains about. */
import type { Browser, BrowserContextOptions, Page } from "playwright-core";

export const PASSWORD = "correct horse battery staple";

export interface Visitor {
	page: Page;
	/** Console errors, errors of scripts, breaches of a policy and answers of 400 and more, since they were last taken. */
	complaints(): string[];
	close(): Promise<void>;
}

/**
 * What nobody's page can help: MLflow's charts are measured while they are drawn, with any door or none; and
 * Chromium drops what is on its way when the machine gets or loses a network, as it does with each stack.
 */
const NO_COMPLAINT = /ResizeObserver loop completed with undelivered notifications|net::ERR_NETWORK_CHANGED/;

export async function visit(browser: Browser, options: BrowserContextOptions = {}): Promise<Visitor> {
	const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options });
	const page = await context.newPage();
	let heard: string[] = [];
	page.on("console", (message) => {
		if (message.type() === "error" && !NO_COMPLAINT.test(message.text())) heard.push(message.text());
	});
	page.on("pageerror", (error) => heard.push(String(error)));
	page.on("response", (answer) => {
		if (answer.status() >= 400) heard.push(`${answer.status()} ${new URL(answer.url()).pathname}`);
	});
	return {
		page,
		complaints() {
			const all = heard;
			heard = [];
			return all;
		},
		close: () => context.close(),
	};
}

/** Signs in on the page that is open, and waits to be led away from it. */
export async function signIn(page: Page, name: string, password = PASSWORD): Promise<void> {
	await page.getByLabel("User name").fill(name);
	await page.getByLabel("Password").fill(password);
	await page.getByRole("button", { name: "Sign in" }).click();
	await page.waitForURL((url) => url.pathname !== "/login");
}
