/** Times, browsers and places, in words for people. */
import type { Html } from "./html.ts";
import { html } from "./html.ts";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

const many = (count: number, what: string): string => `${count} ${what}${count === 1 ? "" : "s"}`;

/** `3 minutes`, for a length in milliseconds; rounded. */
function span(ms: number): string {
	if (ms < 59.5 * MINUTE) return many(Math.round(ms / MINUTE), "minute");
	if (ms < 2 * DAY) return many(Math.round(ms / HOUR), "hour");
	return many(Math.round(ms / DAY), "day");
}

function near(at: number, now: number): string {
	const away = Math.abs(at - now);
	if (away < MINUTE) return at > now ? "in a moment" : "just now";
	return at > now ? `in ${span(away)}` : `${span(away)} ago`;
}

/** `2026-11-24 02:53:27 UTC` */
export const exact = (at: number): string =>
	`${new Date(at).toISOString().slice(0, 19).replace("T", " ")} UTC`;

/** How long ago or ahead, with the exact time behind it. @param at milliseconds, ISO 8601, or null: `never` */
export function when(at: number | string | null, now: number): Html {
	if (at === null) return html`never`;
	const time = typeof at === "string" ? Date.parse(at) : at;
	return html`<time datetime="${new Date(time).toISOString()}" title="${exact(time)}">${near(time, now)}</time>`;
}

/** Seconds, as a wait. */
export function inWords(seconds: number): string {
	return seconds < 60 ? many(seconds, "second") : many(Math.ceil(seconds / 60), "minute");
}

/** In this order: each of the first ones also says that it is the later ones. */
const BROWSERS = [
	[/Edg\w*\/(\d+)/, "Edge"],
	[/OPR\/(\d+)/, "Opera"],
	[/Firefox\/(\d+)/, "Firefox"],
	[/Chrom\w+\/(\d+)/, "Chrome"],
	[/Version\/(\d+).*Safari\//, "Safari"],
] as const;

const SYSTEMS = [
	[/iPhone|iPad/, "iOS"],
	[/Android/, "Android"],
	[/Windows/, "Windows"],
	[/Mac OS X/, "macOS"],
	[/CrOS/, "ChromeOS"],
	[/Linux/, "Linux"],
] as const;

/** `Chrome 140 on Linux`, as far as the browser says so itself. */
export function browser(userAgent: string): string {
	const system = SYSTEMS.find(([pattern]) => pattern.test(userAgent))?.[1];
	for (const [pattern, name] of BROWSERS) {
		const version = pattern.exec(userAgent)?.[1];
		if (version !== undefined)
			return system === undefined ? `${name} ${version}` : `${name} ${version} on ${system}`;
	}
	return userAgent === "" ? "unnamed" : userAgent.slice(0, 40);
}

/** Where a request came in, for people. On `edge` all have the bridge's address, which tells nothing. */
const PLACES: Readonly<Record<string, string>> = {
	edge: "this machine",
	clients: "a training container",
	serve: "the inference API",
	ident: "the network",
	control: "the shell",
	door: "the door",
};

export function place(listener: string, address: string): string {
	const where = PLACES[listener] ?? listener;
	return listener === "edge" || address === "" ? where : `${address}, ${where}`;
}
