/**
 * A strip over MLflow's pages: who am I, account, admin, status, sign out. MLflow has one page of HTML, the one of
 * `/`; the door puts the strip into it on its way through, outside of `#root`, which is React's. It is HTML with
 * the name in it, so it needs no script; signing out needs a form, which is on the page that it leads to.
 */
import type { ServerResponse } from "node:http";
import type { Dispatcher } from "undici";
import type { Allowed, Answerer } from "../answerer.ts";
import type { Identity } from "../authority.ts";
import { html } from "../pages/html.ts";
import { MOST } from "../runs/ids.ts";
import { type Safety, safetyOf } from "../safety.ts";
import { COMPARE_SCRIPT, EARLY_SCRIPT, MENU_SCRIPT, MENU_STYLE } from "./assets.ts";
import type { EarlyParts } from "./early.ts";

/** Milliseconds for which MLflow's page is kept. It changes only with the image. */
const KEEP = 10_000;
const LONGEST_WAIT = 10_000;
/** Bytes. It has about 800. */
const LARGEST = 256 * 1024;

const HEAD_END = "</head>";
const BODY_START = /<body[^>]*>/;

const strip = ({ user, role, kind }: Identity): string =>
	html`<nav class="mlgate-strip" aria-label="Door">
<span class="who"><strong>${user}</strong> · ${role}</span>
<a href="/account">Account</a>
${role === "admin" && html`<a href="/admin">Admin</a>`}
<a href="/status">Status</a>
${kind === "session" && html`<a href="/logout">Sign out</a>`}
<span class="over" hidden>Your session is over.</span>
<a class="again" href="/login?next=%2F" hidden>Sign in again</a>
</nav>`.text;

/** `async`: these are not waited for, and come before MLflow's main script, which is a hundred times as long. */
const compareScript: string = html`<script src="${COMPARE_SCRIPT.path}" data-most="${MOST}" async></script>`
	.text;
const earlyScript = (parts: EarlyParts): string =>
	html`<script src="${EARLY_SCRIPT.path}" data-parts="${JSON.stringify(parts)}" async></script>`.text;

/**
 * The page with the strip in it; undefined if it does not look like a page.
 * @param early more for the end of its head
 */
export function withStrip(page: string, identity: Identity, early = ""): string | undefined {
	const body = BODY_START.exec(page);
	if (body === null || !page.includes(HEAD_END)) return undefined;
	const at = body.index + body[0].length;
	// Pieces, and no replacement text: a user's name could hold what such a text takes for a sign.
	const [before, after] = [page.slice(0, at), page.slice(at)];
	const head = `<link rel="stylesheet" href="${MENU_STYLE.path}"><script src="${MENU_SCRIPT.path}" defer></script>${early}`;
	const cut = before.indexOf(HEAD_END);
	return `${before.slice(0, cut)}${head}${before.slice(cut)}${strip(identity)}${after}`;
}

/**
 * @param upstream the connections to MLflow
 * @param parts what its pages ask for first, if that is known
 */
export function menuOver(upstream: Dispatcher, parts?: EarlyParts): Answerer {
	const early = `${parts === undefined ? "" : earlyScript(parts)}${compareScript}`;
	let kept: { page: string; until: number } | undefined;
	let running: Promise<string | undefined> | undefined;

	async function fetchPage(): Promise<string | undefined> {
		const answer = await upstream.request({
			path: "/",
			method: "GET",
			signal: AbortSignal.timeout(LONGEST_WAIT),
		});
		const { statusCode, headers, body } = answer;
		const isPage = statusCode === 200 && String(headers["content-type"]).startsWith("text/html");
		if (!isPage || Number(headers["content-length"] ?? LARGEST + 1) > LARGEST) {
			await body.dump();
			return undefined;
		}
		const page = await body.text();
		kept = { page, until: performance.now() + KEEP };
		return page;
	}

	async function pageOf(): Promise<string | undefined> {
		if (kept !== undefined && performance.now() < kept.until) return kept.page;
		running ??= fetchPage().finally(() => {
			running = undefined;
		});
		return await running;
	}

	async function serve({ res, identity, route, target }: Allowed): Promise<boolean> {
		// Whatever is wrong with MLflow, the next one says it as it says it everywhere.
		const page = await pageOf().catch(() => undefined);
		const whole = page === undefined ? undefined : withStrip(page, identity, early);
		if (whole === undefined) return false;
		send(res, whole, safetyOf(route, target.path));
		return true;
	}

	return (allowed) => allowed.req.method === "GET" && allowed.route.rule === "/" && serve(allowed);
}

function send(res: ServerResponse, page: string, { headers }: Safety): void {
	if (res.destroyed || res.headersSent) return;
	const body = Buffer.from(page);
	res.writeHead(200, [
		...headers,
		...["Cache-Control", "no-store"],
		...["Content-Type", "text/html; charset=utf-8"],
		...["Content-Length", String(body.length)],
	]);
	res.end(body);
}
