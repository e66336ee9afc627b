import { PARTS, type Part } from "../../infra/contract.ts";
import { defineCommand } from "../lib/command.ts";
import { type Death, deathsOf, meaningOf } from "../lib/deaths.ts";
import { type Container, containerOf, linesUntil } from "../lib/docker.ts";
import { EXIT } from "../lib/errors.ts";
import { examine, type Finding } from "../lib/health.ts";
import { identify } from "../lib/identity.ts";
import { type Run, readRuns } from "../lib/journal.ts";
import { type Paint, painter } from "../lib/paint.ts";
import { journalFolder } from "../lib/paths.ts";
import { age, firstLine, list, table } from "../lib/text.ts";

const DEATHS = 5;
const LOOKS = 5;
const LOG_LINES = 15;
const CHANGES = 5;

export const command = defineCommand({
	name: "why",
	summary:
		"why a part ended or is unhealthy: its last ends, health checks and lines, and what changed before",
	arguments: { part: { summary: `one of ${list(PARTS)}`, choices: PARTS } },
	locks: false,
	async run(context, { part }) {
		const identity = identify(context);
		const [container, health] = await Promise.all([containerOf(identity.name, part), examine(identity)]);
		const deaths = (await deathsOf(identity.name, part, container)).slice(0, DEATHS);
		const [last] = deaths;
		const runs = readRuns(journalFolder(context.checkout), context.stack);
		const account: Account = {
			part,
			state: stateOf(container),
			deaths: deaths.map((death) => ({ ...death, meaning: meaningOf(death, part).words })),
			healthChecks: looksAt(container),
			lines: container ? await linesUntil(container, LOG_LINES, dead(container) ? undefined : last?.at) : [],
			changes: changesBefore(runs, last?.at ?? new Date().toISOString()),
			findings: health.findings.filter((finding) => finding.part === part),
		};
		const conclusion = conclude(account, last);
		return { json: { ...account, ...conclusion }, text: page(account, conclusion, painter()) };
	},
});

interface Account {
	part: Part;
	state: string;
	deaths: (Death & { meaning: string })[];
	healthChecks: { at: string; ok: boolean; said: string }[];
	/** What it wrote last, before its last end. */
	lines: string[];
	/** Commands that changed something in the hour before. */
	changes: { at: string; command: string; about?: string; code?: number }[];
	findings: Finding[];
}

const dead = ({ State }: Container) => State.Status !== "running";

function stateOf(container: Container | undefined): string {
	if (!container) return "absent: it has no container";
	const { Status, Health, StartedAt, FinishedAt } = container.State;
	const since = Status === "running" ? StartedAt : FinishedAt;
	return `${Status}${Health && Status === "running" ? `, ${Health.Status}` : ""}, since ${age(since)}; started again by itself ${container.RestartCount} times`;
}

const looksAt = (container: Container | undefined): Account["healthChecks"] =>
	(container?.State.Health?.Log ?? [])
		.slice(-LOOKS)
		.map(({ Start, ExitCode, Output }) => ({ at: Start, ok: ExitCode === 0, said: firstLine(Output) }));

const HOUR_MS = 3_600_000;

function changesBefore(runs: readonly Run[], at: string): Account["changes"] {
	const moment = Date.parse(at);
	return runs
		.filter(({ since }) => Date.parse(since) <= moment && moment - Date.parse(since) < HOUR_MS)
		.slice(-CHANGES)
		.map(({ since, command, about, ended }) => ({
			at: since,
			command,
			...(about && { about }),
			...(ended && { code: ended.code }),
		}));
}

interface Conclusion {
	cause: string;
	fix: string;
}

function conclude({ part, state, findings }: Account, last: Death | undefined): Conclusion {
	const [finding] = findings;
	if (finding && !last) return { cause: finding.what, fix: finding.fix };
	if (last) {
		const { words, fix } = meaningOf(last, part);
		const now = finding ? fix : "Nothing: it runs again.";
		return { cause: `${age(last.at)} ago ${words}.`, fix: now };
	}
	return {
		cause: `${part} is ${state.split(",")[0]} and has not ended that anybody remembers.`,
		fix: "Nothing.",
	};
}

function page(account: Account, { cause, fix }: Conclusion, paint: Paint): string {
	const { part, state, deaths, healthChecks, lines, changes } = account;
	const section = (title: string, rows: readonly (readonly string[])[]) =>
		rows.length > 0
			? ["", paint("dim", title), table(rows.map(([first = "", ...more]) => [`  ${first}`, ...more]))]
			: [];
	return [
		`${paint("bold", part)}: ${state}`,
		...section(
			"LAST ENDS",
			deaths.map((death) => [`${age(death.at)} ago`, `exit ${death.exitCode}`, death.meaning]),
		),
		...section(
			"HEALTH CHECKS",
			healthChecks.map(({ at, ok, said }) => [
				`${age(at)} ago`,
				ok ? paint("good", "well") : paint("bad", "ill"),
				said,
			]),
		),
		...section(
			"CHANGED IN THE HOUR BEFORE",
			changes.map(({ at, command, about, code }) => [
				`${age(at)} ago`,
				["npx mlgate", command, about].filter(Boolean).join(" "),
				code === undefined ? "did not end" : endingOf(code),
			]),
		),
		...(lines.length > 0 ? ["", paint("dim", "LAST LINES"), ...lines.map((line) => `  ${line}`)] : []),
		"",
		`${paint("bold", "Cause:")} ${cause}`,
		`${paint("bold", "Do this:")} ${fix}`,
	].join("\n");
}

const endingOf = (code: number): string => (code === EXIT.ok ? "went well" : `ended with ${code}`);
