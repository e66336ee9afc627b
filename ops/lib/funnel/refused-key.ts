/** A node that Tailscale does not let in with the key it has, by what it says of that itself. */
import { type Container, lastLines } from "../docker.ts";

/** As `tailscale up` passes on what the control server answers. */
const REFUSED = /backend error: ((?:invalid (?:auth ?)?key|requested tags)\b.*)/i;

/** One start says dozens, and the next may have begun. */
const LINES = 200;

/** @returns what Tailscale said; undefined: the lines are about something else */
export const refusalIn = (lines: readonly string[]): string | undefined =>
	lines.map((line) => REFUSED.exec(line)?.[1]?.trim()).findLast(Boolean);

/** Asks a node that does not come up. */
export const refusalOf = async (node: Container): Promise<string | undefined> =>
	refusalIn(await lastLines(node, LINES));

export interface KeyRefused {
	code: "AUTH_KEY_REFUSED";
	what: string;
	why: string;
	fix: string;
}

/** @param said by Tailscale */
export const keyRefused = (said: string): KeyRefused => ({
	code: "AUTH_KEY_REFUSED",
	what: "Tailscale refused the key that the node was to join the tailnet with.",
	why: `It said "${said}": the key was used already, has expired or was revoked, is one for another tailnet, or has a tag that its maker does not own.`,
	fix: "Make a new one (https://login.tailscale.com/admin/settings/keys) and give it: npx mlgate config set funnel.authKey < key.txt, then npm start; with funnel.credentials, npm start alone makes a new one",
});
