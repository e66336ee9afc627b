import { type Context, defineCommand } from "../lib/command.ts";
import type { Check } from "../lib/door.ts";
import type { Verdict } from "../lib/health.ts";
import { lastStep } from "../lib/journal.ts";
import { type Overview, overview, type PartOverview } from "../lib/overview.ts";
import { type Paint, painter, type Style } from "../lib/paint.ts";
import { sleep } from "../lib/sleep.ts";
import { age, bytesInWords, duration, list, table } from "../lib/text.ts";

/** What the verdict means, and what to do where no finding says it better. */
const WORDS: Record<Verdict, [string, Style]> = {
	healthy: ["healthy", "good"],
	starting: ["starting", "warn"],
	unhealthy: ["not healthy", "bad"],
	stopped: ["stopped, all data kept", "warn"],
	absent: ["not up: no containers here", "warn"],
};

const PAUSE_MS = 2_000;
/** Clears the screen and goes to its first line. */
const CLEAR = "\x1b[2J\x1b[H";

export const command = defineCommand({
	name: "status",
	summary: "how every part is, with round trips; exit 5 unless all is well",
	options: { watch: { summary: "look again every two seconds; JSON lines with --json" } },
	locks: false,
	async run(context, _args, { watch = false }) {
		if (watch) return await watchOn(context);
		const seen = await overview(context);
		return {
			json: document(seen),
			text: page(seen, painter()),
			exit: seen.verdict === "healthy" ? "ok" : "unhealthy",
		};
	},
});

async function watchOn(context: Context): Promise<undefined> {
	const clear = process.stdout.isTTY ? CLEAR : "";
	while (!context.interrupted.aborted) {
		const seen = await overview(context);
		const time = new Date().toISOString().slice(11, 19);
		context.print(
			context.json
				? `${JSON.stringify(document(seen))}\n`
				: `${clear}${page(seen, painter())}\n\n${painter()("dim", `as of ${time}Z`)}\n`,
		);
		await sleep(PAUSE_MS, context.interrupted).catch(() => {});
	}
	return undefined;
}

const document = (seen: Overview) => ({
	at: new Date().toISOString(),
	...seen,
	fix: seen.verdict === "healthy" ? undefined : fixOf(seen),
});

const whole = (verdict: Verdict) => verdict === "stopped" || verdict === "absent";

/** The one thing to do. */
const fixOf = ({ verdict, findings }: Overview) =>
	whole(verdict) ? "npm start" : (findings[0]?.fix ?? "npm start");

function page(seen: Overview, paint: Paint): string {
	const { stack, name, verdict, parts, checks, findings, url } = seen;
	const [words, style] = WORDS[verdict];
	const lines = [
		`${paint("bold", name)} (stack ${stack}): ${paint(style, words)}${verdict === "healthy" ? `, ${url}` : ""}`,
		"",
	];
	if (verdict !== "absent") {
		const head = ["PART", "STATE", "SINCE", "RESTARTS", "MEMORY", "DISK", "IMAGE"];
		lines.push(table([head.map((word) => paint("dim", word)), ...parts.map((part) => row(part, paint))]), "");
	}
	if (checks.length > 0) {
		lines.push(paint("dim", "ROUND TRIPS"), table(checks.map((check) => roundTrip(check, paint))), "");
	}
	lines.push(...notes(seen, paint));
	if (verdict === "healthy") return lines.join("\n");
	if (!whole(verdict)) lines.push("", ...findings.map(({ what }) => `${paint("bad", "Wrong:")} ${what}`));
	lines.push("", `${paint("bold", "Do this:")} ${fixOf(seen)}`);
	return lines.join("\n");
}

/** What is good to know and no reason to call the stack ill. */
function notes(seen: Overview, paint: Paint): string[] {
	const { dataVolumes, keeper, endingTokens = [], cutOff, publicUrl } = seen;
	const lines = [
		...(publicUrl ? [`Public: ${publicUrl} (from outside: npx mlgate verify funnel)`] : []),
		dataVolumes.length > 0 ? `Data: ${list(dataVolumes)}; keeper ${keeper.state}` : "Data: none",
	];
	for (const { name, user, expires } of endingTokens)
		lines.push(
			`${paint("warn", "Soon:")} the token ${name} of ${user} ends at ${expires?.slice(0, 16).replace("T", " ")}Z`,
		);
	if (cutOff) {
		const step = lastStep(cutOff);
		const where = step ? `, in the step "${step}"` : "";
		lines.push(
			`${paint("warn", "Cut off:")} \`${[cutOff.command, cutOff.about].filter(Boolean).join(" ")}\` was killed ${age(cutOff.steps.at(-1)?.at ?? cutOff.since)} ago${where}; run it again`,
		);
	}
	return lines;
}

const roundTrip = ({ name, ok, ms, detail }: Check, paint: Paint): string[] => [
	`  ${name}`,
	ok ? paint("good", duration(ms)) : paint("bad", `FAILED${detail ? `: ${detail}` : ""}`),
];

/** From here on a part is about to be killed for memory, or its disk to be full. */
const TIGHT = 0.9;

function row(part: PartOverview, paint: Paint): string[] {
	const { state, health, since, image, restarts, memory, disk } = part;
	const well = state === "running" && (health === "healthy" || health === "none");
	const style: Style = well ? "good" : health === "starting" ? "warn" : "bad";
	const words = state === "running" && health !== "none" ? health : state;
	const tight = (share: number, text: string) => (share > TIGHT ? paint("warn", text) : text);
	return [
		part.part,
		paint(style, words),
		since ? `${age(since)} ago` : "-",
		restarts > 0 ? paint("warn", String(restarts)) : String(restarts),
		memory
			? tight(memory.used / memory.limit, `${bytesInWords(memory.used)} of ${bytesInWords(memory.limit)}`)
			: "-",
		disk
			? tight(
					1 - disk.free / disk.size,
					`${disk.used === undefined ? "much" : bytesInWords(disk.used)}, ${bytesInWords(disk.free)} free`,
				)
			: "-",
		image ?? "-",
	];
}
