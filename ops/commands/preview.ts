import { defineCommand } from "../lib/command.ts";
import { readSettings } from "../lib/stack/config-file.ts";
import type { Change, Impact, Plan } from "../lib/stack.ts";
import { table } from "../lib/text.ts";
import { openWorkspace, prepareApiImage, prepareEngine, prepareImages } from "../lib/workspace.ts";

/** What an impact means for the people who use the stack. */
const WORDS: Record<Impact, string> = {
	none: "nobody notices",
	"restarts stateless": "a part without data restarts: requests fail for some seconds",
	"restarts a store": "a store restarts: nothing can be read or written for some seconds, nothing is lost",
	"touches data": "DATA IS TOUCHED; `up` will refuse",
};

export const command = defineCommand({
	name: "preview",
	summary: "what `up` would change, and what that means",
	locks: true,
	async run(context) {
		readSettings(context);
		await prepareEngine(context);
		await prepareImages(context);
		await prepareApiImage(context);
		const stack = await openWorkspace(context);
		const plan = await stack.preview();
		return { json: { stack: context.stack, ...plan }, text: page(plan) };
	},
});

function page({ changes, impact }: Plan): string {
	if (changes.length === 0) return "Nothing to change.";
	const head = ["WHAT", "KIND", "NAME", "IMPACT", "BECAUSE OF"];
	return [
		table([head, ...changes.map(row)]),
		"",
		`Impact: ${impact} (${WORDS[impact]}). Do it: npm start`,
	].join("\n");
}

const row = ({ action, kind, resource, impact, properties }: Change) => [
	action,
	kind,
	resource,
	impact,
	properties.join(", "),
];
