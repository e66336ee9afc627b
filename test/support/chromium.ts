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

/** The lowest contrast of any text with what lies behind it (WCAG 2: 4.5 is enough). */
export const LOWEST_CONTRAST = `(() => {
	const parse = (color) => { const [r, g, b, a = 1] = color.match(/[\\d.]+/g).map(Number); return { rgb: [r, g, b], a }; };
	const light = (rgb) => rgb.map((c) => c / 255).map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
		.reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
	const behind = (node) => {
		for (; node; node = node.parentElement) { const { rgb, a } = parse(getComputedStyle(node).backgroundColor); if (a === 1) return rgb; }
		return [255, 255, 255];
	};
	let lowest = Infinity;
	for (const node of document.querySelectorAll("body *")) {
		const own = [...node.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim());
		if (!own && node.tagName !== "INPUT") continue;
		const [one, other] = [light(parse(getComputedStyle(node).color).rgb), light(behind(node))].sort((a, b) => b - a);
		lowest = Math.min(lowest, (one + 0.05) / (other + 0.05));
	}
	return lowest;
})()`;

/**
 * Keeps a picture of the page: under `.mlgate/pictures/`, or in `docs/pictures/`, for the README, when
 * `MLGATE_PICTURES=1` asks for it.
 */
export async function picture(page: Page, name: string): Promise<void> {
	const folder = join(
		CHECKOUT,
		...(process.env.MLGATE_PICTURES ? ["docs", "pictures"] : [".mlgate", "pictures"]),
	);
	mkdirSync(folder, { recursive: true });
	await page.screenshot({ path: join(folder, `${name}.png`), animations: "disabled", caret: "hide" });
}
