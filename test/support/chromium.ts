/** Chromium for tests, driven over its own protocol. There is no way round it: without a browser the tests fail. */
import { existsSync } from "node:fs";
import { type Browser, chromium } from "playwright-core";

const PLACES = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];

export async function startChromium(): Promise<Browser> {
	const executablePath = [process.env.CHROMIUM ?? "", ...PLACES].find(
		(path) => path !== "" && existsSync(path),
	);
	if (!executablePath)
		throw new Error("These tests need Chromium: `apt-get install chromium`, or set CHROMIUM.");
	return await chromium.launch({
		executablePath,
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
