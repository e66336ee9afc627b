/** Waits until a stack is healthy, and says what it waits for. */
import type { Part } from "../../infra/contract.ts";
import { containerOf, lastLines } from "./docker.ts";
import { OpsError } from "./errors.ts";
import { examine, type Health, type PartHealth } from "./health.ts";
import type { Identity } from "./identity.ts";
import type { Report } from "./report.ts";
import { sleep } from "./sleep.ts";
import { list } from "./text.ts";

/** A cold MLflow on a slow disk takes a minute; Postgres may first have to recover from a crash. */
const DEADLINE_MS = 300_000;
const PAUSE_MS = 1_000;
/** How long a part may be in a state that it hardly gets out of by itself. */
const HOPELESS_MS = 30_000;
const LOG_LINES = 20;

export interface Waiting {
	report: Report;
	interrupted: AbortSignal;
	deadlineMs?: number;
}

/**
 * @returns the healthy stack.
 * @throws OpsError NOT_HEALTHY (exit 5), after the failing part's last log lines were shown.
 */
export async function awaitHealth(
	identity: Identity,
	{ report, interrupted, deadlineMs = DEADLINE_MS }: Waiting,
): Promise<Health> {
	const outcome = await report.step("Making sure that every part answers", async ({ detail }) => {
		const begun = Date.now();
		let hopelessSince: number | undefined;
		let said = "";
		for (;;) {
			const health = await examine(identity);
			const stuck = health.parts.some(isStuck);
			hopelessSince = stuck ? (hopelessSince ?? Date.now()) : undefined;
			const over = Date.now() - begun > deadlineMs;
			const hopeless = hopelessSince !== undefined && Date.now() - hopelessSince > HOPELESS_MS;
			if (health.verdict === "healthy" || over || hopeless) return health;
			const waits = waitsFor(health);
			if (waits !== said) detail(waits);
			said = waits;
			await sleep(PAUSE_MS, interrupted);
		}
	});
	if (outcome.verdict === "healthy") return outcome;
	throw await notHealthy(identity, outcome, report);
}

/** Running parts get there or not; these need help. */
const isStuck = ({ state, health }: PartHealth) => state !== "running" || health === "unhealthy";

function waitsFor({ parts, findings }: Health): string {
	const waiting = parts.filter(({ state, health }) => state !== "running" || health !== "healthy");
	if (waiting.length > 0)
		return `waiting for ${list(waiting.map(({ part, health, state }) => `${part} (${state === "running" ? health : state})`))}`;
	return `waiting: ${findings[0]?.what ?? ""}`;
}

/** The error for a stack that is not healthy; shows the last lines of the part that it is about. */
export async function notHealthy(identity: Identity, health: Health, report: Report): Promise<OpsError> {
	const [first] = health.findings;
	if (first?.part) await showLastLines(identity.name, first.part, report);
	const others = health.findings.slice(1).map(({ what }) => what);
	return new OpsError({
		code: "NOT_HEALTHY",
		kind: "unhealthy",
		what: first?.what ?? `The stack ${identity.name} is ${health.verdict}.`,
		...(others.length > 0 ? { why: `Also: ${others.join(" ")}` } : {}),
		fix: first?.fix ?? "npx mlgate status",
	});
}

async function showLastLines(name: string, part: Part, report: Report): Promise<void> {
	const container = await containerOf(name, part);
	if (!container) return;
	const lines = await lastLines(container, LOG_LINES);
	if (lines.length > 0)
		report.note([`The last lines of ${part}:`, ...lines.map((line) => `  ${line}`)].join("\n"));
}
