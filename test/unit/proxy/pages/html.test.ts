import { expect, it } from "vitest";
import { html } from "../../../../proxy/pages/html.ts";

it("escapes what is put in, wherever it stands, and not what was made here", () => {
	const nasty = `<script>"'&`;
	const inner = html`<b title="${nasty}">${nasty}</b>`;
	expect(html`<i>${inner}</i>`.text).toBe(
		'<i><b title="&lt;script&gt;&quot;&#39;&amp;">&lt;script&gt;&quot;&#39;&amp;</b></i>',
	);
	expect(html`${[html`<p></p>`, "<"]}${false}${undefined}${0}`.text).toBe("<p></p>&lt;0");
});
