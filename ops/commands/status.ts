import { defineCommand } from "../lib/command.ts";
import type { Check } from "../lib/door.ts";
import { examine, type Health, type PartHealth, type Verdict } from "../lib/health.ts";
import { identify } from "../lib/identity.ts";
import { age, duration, list, table } from "../lib/text.ts";

/** What the verdict means, and what to do where no finding says it better. */
const WORDS: Record<Verdict, string> = {
	healthy: "healthy",
	starting: "starting",
	unhealthy: "not healthy",
	stopped: "stopped, all data kept",
	absent: "not up: no containers here",
};

export const command = defineCommand({
	name: "status",
	summary: "how every part is, with round trips; exit 5 unless all is well",
	locks: false,
	async run({ checkout, stack }) {
		const identity = identify({ checkout, stack });
		const health = await examine(identity);
		const healthy = health.verdict === "healthy";
		return {
			json: { stack, name: identity.name, ...health, fix: healthy ? undefined : fixOf(health) },
			text: page(stack, identity.name, health),
			exit: healthy ? "ok" : "unhealthy",
		};
	},
});

const whole = (verdict: Verdict) => verdict === "stopped" || verdict === "absent";

/** The one thing to do. */
const fixOf = ({ verdict, findings }: Health) =>
	whole(verdict) ? "npm start" : (findings[0]?.fix ?? "npm start");

function page(stack: string, name: string, health: Health): string {
	const { verdict, parts, checks, keeper, dataVolumes, findings, url, publicUrl } = health;
	const lines = [`${name} (stack ${stack}): ${WORDS[verdict]}${verdict === "healthy" ? `, ${url}` : ""}`, ""];
	if (verdict !== "absent") {
		lines.push(table([["PART", "STATE", "HEALTH", "SINCE", "IMAGE"], ...parts.map(row)]), "");
	}
	if (checks.length > 0) lines.push(`Round trips: ${checks.map(roundTrip).join(", ")}`);
	if (publicUrl) lines.push(`Public: ${publicUrl} (from outside: npx mlgate verify funnel)`);
	lines.push(dataVolumes.length > 0 ? `Data: ${list(dataVolumes)}; keeper ${keeper.state}` : "Data: none");
	if (verdict === "healthy") return lines.join("\n");
	if (!whole(verdict)) lines.push("", ...findings.map(({ what }) => `Wrong: ${what}`));
	lines.push("", `Do this: ${fixOf(health)}`);
	return lines.join("\n");
}

const roundTrip = ({ name, ok, ms }: Check) => (ok ? `${name} ${duration(ms)}` : `${name} FAILED`);

function row({ part, state, health, since, image, restarts }: PartHealth): string[] {
	const word = restarts > 0 ? `${state} (${restarts} restarts)` : state;
	return [part, word, health === "none" ? "-" : health, since ? `${age(since)} ago` : "-", image ?? "-"];
}
