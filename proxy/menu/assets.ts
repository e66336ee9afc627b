/** Style sheet and scripts of the strip over MLflow's pages, served with their hash in the name. */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";

function load(file: string, type: string) {
	const body = readFileSync(new URL(file, import.meta.url));
	const [name, end] = file.split(".");
	const digest = createHash("sha256").update(body).digest("hex").slice(0, 12);
	return { path: `/door/assets/${name}-${digest}.${end}`, type, body };
}

export const MENU_STYLE = load("menu.css", "text/css; charset=utf-8");
export const MENU_SCRIPT = load("menu.js", "text/javascript; charset=utf-8");
export const EARLY_SCRIPT = load("early.js", "text/javascript; charset=utf-8");
export const COMPARE_SCRIPT = load("compare.js", "text/javascript; charset=utf-8");
export const MENU_ASSETS = [MENU_STYLE, MENU_SCRIPT, EARLY_SCRIPT, COMPARE_SCRIPT] as const;
