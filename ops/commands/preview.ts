import { defineCommand } from "../lib/command.ts";
import { readSettings } from "../lib/stack/config-file.ts";
import type { Change, Impact, Plan } from "../lib/stack.ts";
import { table } from "../lib/text.ts";
import { openWorkspace, prepareApiImage, prepareEngine, prepareImages } from "../lib/workspace.ts";

/** What an impact means for the people who use the stack. */
const WORDS: Record<Impact, string> = {
	none: "nobody notices",
	"restarts stateless": "a part without data restarts; requests wait for it at the door",
	"restarts a store": "a store restarts; requests wait for it at the door, and nothing is lost",
	"touches data": "DATA IS TOUCHED; `up` refuses unless the stack's name is typed",
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
		const { plan } = await stack.preview();
		return { json: { stack: context.stack, ...plan }, text: page(plan) };
	},
});

function page({ changes, impact, seconds }: Plan): string {
	if (changes.length === 0) return "Nothing to change.";
	const head = ["WHAT", "KIND", "NAME", "IMPACT", "ABOUT", "BECAUSE OF"];
	return [
		table([head, ...changes.map(row)]),
		"",
		`Impact: ${impact} (${WORDS[impact]}${seconds > 0 ? `, about ${seconds} s together` : ""}). Do it: npm start`,
	].join("\n");
}

const row = ({ action, kind, resource, impact, seconds, properties }: Change) => [
	action,
	kind,
	resource,
	impact,
	seconds ? `${seconds} s` : "",
	properties.join(", "),
];
