/** The strip over MLflow's pages: who am I, on the one page of HTML that MLflow has. */
import { afterAll, beforeAll, beforeEach, it as check, describe, expect } from "vitest";
import type { Identity } from "../../../proxy/authority.ts";
import { COMPARE_SCRIPT, MENU_SCRIPT, MENU_STYLE } from "../../../proxy/menu/assets.ts";
import { withStrip } from "../../../proxy/menu/index.ts";
import { MOST } from "../../../proxy/runs/ids.ts";
import { exchange, type Rig, request, rig } from "./support.ts";

const PAGE =
	'<!doctype html><html lang="en"><head><meta charset="utf-8"/><title>MLflow</title></head><body><div id="root"></div></body></html>';
const ada: Identity = { kind: "session", user: "ada", role: "viewer", credential: "ses-1" };

describe("the page", () => {
	check("has the strip before MLflow's root, its style and script by hash, and nothing else changed", () => {
		const page = withStrip(PAGE, ada) ?? "";
		expect(page).toContain("<strong>ada</strong> · viewer");
		expect(page).toContain(`href="${MENU_STYLE.path}"`);
		expect(page).toContain(`<script src="${MENU_SCRIPT.path}" defer></script>`);
		expect(
			page
				.replace(/<nav[\s\S]*<\/nav>/, "")
				.replace(/<link rel="stylesheet"[^>]*><script[^>]*><\/script>/, ""),
		).toBe(PAGE);
		expect(page.indexOf("</nav>")).toBeLessThan(page.indexOf('id="root"'));
	});

	check("has no inline script or style: the policy would stop them", () => {
		expect(withStrip(PAGE, ada)).not.toMatch(/<script>|<style| style=| on\w+=/i);
	});

	check.each([
		["viewer", "session", ["/account", "/status", "/logout"]],
		["admin", "session", ["/account", "/admin", "/status", "/logout"]],
		["admin", "token", ["/account", "/admin", "/status"]],
	] as const)("leads a %s's %s where it may go", (role, kind, paths) => {
		const page = withStrip(PAGE, { ...ada, role, kind }) ?? "";
		const links = [...page.matchAll(/<a (?:class="again" )?href="(\/[a-z]+)/g)].map(([, path]) => path);
		expect(links).toEqual([...paths, "/login"]);
	});

	check("takes a name for a name, whatever stands in it", () => {
		const page = withStrip(PAGE, { ...ada, user: "$&<script>alert(1)</script>" });
		expect(page).toContain("$&amp;&lt;script&gt;");
	});

	check("that does not look like one is left alone", () => {
		for (const page of ["", "{}", "<body>", "</head>", "Unable to display MLflow UI"])
			expect(withStrip(page, ada)).toBeUndefined();
	});
});

describe("through the door", () => {
	let it: Rig;
	beforeAll(async () => {
		it = await rig();
	});
	afterAll(() => it.close());
	beforeEach(() => {
		it.upstream.seen.length = 0;
	});

	check("MLflow's failure comes through as it is, and is not kept", async () => {
		it.upstream.answer = (_, res) =>
			void res.writeHead(500, { "content-type": "text/html", "content-length": 4 }).end("down");
		expect(await exchange(it.port, request("GET", "/"))).toMatchObject({ status: 500, body: "down" });
		it.upstream.answer = (_, res) => {
			res
				.writeHead(200, { "content-type": "text/html; charset=utf-8", "content-length": PAGE.length })
				.end(PAGE);
		};
		expect((await exchange(it.port, request("GET", "/"))).body).toContain("mlgate-strip");
	});

	check(
		"each gets a strip of their own, of one page that MLflow is asked for once, and that nobody keeps",
		async () => {
			it.upstream.answer = (_, res) => {
				res
					.writeHead(200, { "content-type": "text/html; charset=utf-8", "content-length": PAGE.length })
					.end(PAGE);
			};
			for (const role of ["viewer", "editor", "admin"] as const) {
				const { head, body } = await exchange(it.port, request("GET", "/", { role }));
				expect(body).toContain(`<strong>${role}-user</strong>`);
				expect(body).toContain(
					`<script src="${COMPARE_SCRIPT.path}" data-most="${MOST}" async></script></head>`,
				);
				expect(head).toMatch(/^cache-control: no-store$/im);
				expect(head).toMatch(/^content-security-policy: .*frame-ancestors 'none'$/im);
			}
			expect(it.upstream.seen.length).toBeLessThanOrEqual(1);
		},
	);
});
