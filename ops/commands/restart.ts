import { apiSettings } from "../../infra/api-settings.ts";
import { PARTS, type Part } from "../../infra/contract.ts";
import { awaitHealth, notHealthy } from "../lib/await-health.ts";
import { defineCommand } from "../lib/command.ts";
import { examine } from "../lib/health.ts";
import { Holds } from "../lib/holds.ts";
import { identify } from "../lib/identity.ts";
import type { Report } from "../lib/report.ts";
import { type Restarted, restartPart } from "../lib/restart.ts";
import { readSettings } from "../lib/stack/config-file.ts";
import { duration, list, table } from "../lib/text.ts";

export const command = defineCommand({
	name: "restart",
	summary: "start parts anew, one at a time, while requests wait at the door",
	arguments: { part: { summary: "which (default: all)", variadic: true, choices: PARTS } },
	locks: true,
	async run(context, { part: wanted }) {
		const identity = identify(context);
		const { ready } = apiSettings(readSettings(context));
		const { report, interrupted } = context;
		const before = await examine(identity);
		if (before.verdict === "stopped" || before.verdict === "absent") throw await notHealthy(identity, before);

		// In the order in which they need one another.
		const there = wanted.length > 0 ? wanted : before.parts.map(({ part }) => part);
		const parts = PARTS.filter((part) => there.includes(part));
		const done: Restarted[] = [];
		for (const part of parts) {
			try {
				interrupted.throwIfAborted();
				done.push(await restartPart(part, { name: identity.name, ready, report, interrupted }));
			} catch (error) {
				tellWhere(report, parts, done.length);
				throw error;
			}
		}
		await new Holds(identity.name, report).releaseForgotten();
		const { verdict } = await awaitHealth(identity, { report, interrupted });
		return {
			json: { stack: context.stack, name: identity.name, verdict, restarted: done },
			text: [table([HEAD, ...done.map(row)]), "", `${list(parts)}: restarted, and all parts answer.`].join(
				"\n",
			),
		};
	},
});

const HEAD = ["PART", "REQUESTS", "FOR", "WAITED", "LONGEST", "REFUSED"];

const WORDS: Record<Restarted["way"], string> = {
	held: "were held",
	relieved: "were answered by another one",
	gap: "found nobody",
};

const row = ({ part, way, seconds, requests, longest, refused }: Restarted) => [
	part,
	WORDS[way],
	duration(seconds * 1000),
	...(way === "held" ? [String(requests), duration(longest * 1000), String(refused)] : []),
];

/** Where things are when it ends before its end. */
function tellWhere(report: Report, parts: readonly Part[], done: number): void {
	const [at, ...later] = parts.slice(done);
	report.note(
		[
			...(done > 0 ? [`Restarted: ${list(parts.slice(0, done))}.`] : []),
			`It ended at ${at}, which runs again unless Docker says otherwise; no request is held any more.`,
			...(later.length > 0 ? [`Not begun: ${list(later)}.`] : []),
			`To go on: npx mlgate restart ${parts.slice(done).join(" ")}`,
		].join(" "),
	);
}
