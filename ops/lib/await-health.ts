/** Waits until a stack is healthy, and says what it waits for. */
import type { Part } from "../../infra/contract.ts";
import { containerOf, lastLines } from "./docker.ts";
import { OpsError, type Problem } from "./errors.ts";
import { examine, type Finding, type Health, type PartHealth, START, type Verdict } from "./health.ts";
import type { Identity } from "./identity.ts";
import type { Report } from "./report.ts";
import { sleep } from "./sleep.ts";
import { list } from "./text.ts";

/** A cold MLflow on a slow disk takes a minute; Postgres may first have to recover from a crash. */
const DEADLINE_MS = 300_000;
const PAUSE_MS = 1_000;
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
	return report.step("Making sure that every part answers", async ({ detail }) => {
		const begun = Date.now();
		const since: Partial<Record<Trouble, number>> = {};
		for (;;) {
			const health = await examine(identity);
			if (health.verdict === "healthy") return health;
			const now = Date.now();
			for (const trouble of TROUBLES) {
				since[trouble] = isIn(trouble, health) ? (since[trouble] ?? now) : undefined;
			}
			const lasted = (trouble: Trouble) => now - (since[trouble] ?? now);
			const hopeless = TROUBLES.some((trouble) => lasted(trouble) > PATIENCE_MS[trouble]);
			// Thrown within the step, so that it is seen to have failed.
			if (hopeless || now - begun > deadlineMs) throw await notHealthy(identity, health, { started: true });
			detail(waitsFor(health));
			await sleep(PAUSE_MS, interrupted);
		}
	});
}

/** States that a stack hardly gets out of by itself: a part that ends or fails, or all is well but nobody answers. */
const TROUBLES = ["part", "answer"] as const;
type Trouble = (typeof TROUBLES)[number];
const PATIENCE_MS: Record<Trouble, number> = { part: 30_000, answer: 60_000 };

function isIn(trouble: Trouble, { parts }: Health): boolean {
	if (trouble === "part") return parts.some(isStuck);
	return parts.every(({ state, health }) => state === "running" && health === "healthy");
}

/** Running parts get there or not; these need help. */
const isStuck = ({ state, health }: PartHealth) => state !== "running" || health === "unhealthy";

function waitsFor({ parts, findings }: Health): string {
	const waiting = parts.filter(({ state, health }) => state !== "running" || health !== "healthy");
	if (waiting.length > 0)
		return `waiting for ${list(waiting.map(({ part, health, state }) => `${part} (${state === "running" ? health : state})`))}`;
	return `waiting: ${findings[0]?.what ?? ""}`;
}

/** What a stack is that does not run at all: nothing of it is broken. */
const AT_REST: Partial<Record<Verdict, string>> = {
	stopped: "is stopped",
	absent: "has not been brought up",
};

/**
 * The error for a stack that is not healthy, with the last lines of the part that it is about.
 * @param started `up` has just done its part: to run it again is no advice.
 */
export async function notHealthy(
	{ name }: Identity,
	health: Health,
	{ started = false } = {},
): Promise<OpsError> {
	const rest = AT_REST[health.verdict];
	if (rest && !started) return problem(`${name} ${rest}.`, [], START);
	const [first, ...others] = health.findings;
	if (!first) return problem(`${name} is ${health.verdict}.`, [], "npx mlgate status");
	const said = first.part && (await lastWords(name, first.part));
	const look = ["npx mlgate logs", first.part, "--tail 50"].filter(Boolean).join(" ");
	const fix = started && first.fix === START ? look : first.fix;
	return problem(
		first.what,
		others.map(({ what }) => what),
		fix,
		said,
		first,
	);
}

function problem(
	what: string,
	others: readonly string[],
	fix: string,
	said?: Problem["said"],
	{ code = "NOT_HEALTHY", why }: Pick<Finding, "code" | "why"> = {},
): OpsError {
	const also = others.length > 0 ? `Also: ${others.join(" ")}` : undefined;
	const whole = [why, also].filter(Boolean).join(" ");
	return new OpsError({
		code,
		kind: "unhealthy",
		what,
		...(whole && { why: whole }),
		fix,
		...(said && { said }),
	});
}

async function lastWords(name: string, part: Part): Promise<Problem["said"]> {
	const container = await containerOf(name, part);
	return container && { by: part, lines: await lastLines(container, LOG_LINES) };
}
