import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { type Browser, chromium, type Page } from "playwright-core";
import { CHECKOUT } from "./mlgate.ts";

/** Debian's Chromium. */
export const CHROMIUM = "/usr/bin/chromium";

/** A headless Chromium that looks nothing up on the internet. */
export function launch(): Promise<Browser> {
	return chromium.launch({
		executablePath: CHROMIUM,
		args: [
			"--no-sandbox",
			"--disable-gpu",
			"--disable-quic",
			"--no-first-run",
			"--disable-background-networking",
			"--disable-component-update",
			"--disable-sync",
		],
	});
}

/** Keeps a picture of the page under `.mlgate/pictures/`. */
export async function picture(page: Page, name: string): Promise<void> {
	const folder = join(CHECKOUT, ".mlgate", "pictures");
	mkdirSync(folder, { recursive: true });
	await page.screenshot({ path: join(folder, `${name}.png`) });
}
