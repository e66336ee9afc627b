/** What an edit of the policy changes, as people read it. */
import { structuredPatch } from "diff";

/** Lines to see where it is. */
const CONTEXT = 2;

/** Lines that begin with `+`, `-` or a blank, the places apart from one another by `...`. */
export function changesOf(before: string, after: string): string {
	const { hunks } = structuredPatch("", "", before, after, "", "", { context: CONTEXT });
	return hunks.map(({ lines }) => lines.map((line) => `  ${line}`).join("\n")).join("\n  ...\n");
}
