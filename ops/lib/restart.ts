/**
 * One part is started anew while requests wait for it at the door. The container stays the one that Pulumi knows, and
 * once it is stopped it is started again, whatever happens in between.
 */
import type { Part } from "../../infra/contract.ts";
import { askApi } from "./api.ts";
import { becomesHealthy, lastWords } from "./candidate/container.ts";
import { takeOver } from "./candidate/take-over.ts";
import { type Container, containerOf, docker } from "./docker.ts";
import type { HeldPart } from "./door.ts";
import { OpsError } from "./errors.ts";
import { type Held, Holds } from "./holds.ts";
import type { Report, Step } from "./report.ts";

export interface Restarting {
	/** The stack's name on the host. */
	name: string;
	/** A path that the API answers only with a usable model; empty: nothing tells. */
	ready: string;
	report: Report;
	interrupted: AbortSignal;
}

/** What the restart of a part was for those who use it. */
export interface Restarted extends Held {
	/** `held`: requests waited. `relieved`: another container answered meanwhile. `gap`: nobody answered. */
	way: "held" | "relieved" | "gap";
}

/**
 * @throws OpsError PART_MISSING (exit 3), or NOT_BACK (exit 5) with what the part wrote last. Nothing is held any more
 * then, and the part was started again.
 */
export async function restartPart(part: Part, job: Restarting): Promise<Restarted> {
	const container = await containerOf(job.name, part);
	if (!container) throw missing(part);
	return job.report.step(`Restarting ${part}`, (step) => WAYS[part]({ ...job, part, container, step }));
}

interface Work extends Restarting {
	part: Part;
	container: Container;
	step: Step;
}

const WAYS: Record<Part, (work: Work) => Promise<Restarted>> = {
	postgres: underHold,
	minio: underHold,
	mlflow: underHold,
	door: throughTheGap,
	tailscale: throughTheGap,
	api: relieved,
};

async function underHold(work: Work): Promise<Restarted> {
	const part = work.part as HeldPart;
	const holds = new Holds(work.name, work.report);
	let held: Held | undefined;
	try {
		work.step.detail("letting what is running finish");
		if (!(await holds.hold(part))) return await throughTheGap(work);
		work.interrupted.throwIfAborted();
		await startAnew(work);
	} finally {
		work.step.detail("letting requests go on");
		held = await holds.release(part);
	}
	return { ...(held ?? nobodyWaited(part)), way: "held" };
}

/** The door itself, and whatever is restarted while there is no door: nobody can hold for it. */
async function throughTheGap(work: Work): Promise<Restarted> {
	const begun = performance.now();
	await startAnew(work);
	return { ...nobodyWaited(work.part), seconds: (performance.now() - begun) / 1000, way: "gap" };
}

/** A second container of the same spec answers in the meantime. */
async function relieved(work: Work): Promise<Restarted> {
	const { name, report, interrupted, container } = work;
	const door = await containerOf(name, "door");
	if (container.State.Status !== "running" || door?.State.Status !== "running") return throughTheGap(work);
	// One that has no model yet is not asked for one.
	const answer = work.ready ? await askApi(door, container, work.ready) : undefined;
	const ready = answer && "status" in answer && answer.status < 400 ? work.ready : "";
	// It reads the same stage as before: there is nothing to put back.
	await takeOver({ name, ready, report, interrupted, putBack: async () => {} });
	return { ...nobodyWaited(work.part), way: "relieved" };
}

const nobodyWaited = (part: Part): Held => ({ part, seconds: 0, requests: 0, longest: 0, refused: 0 });

async function startAnew({ part, container, step, interrupted }: Work): Promise<void> {
	step.detail("stopping it and starting it again");
	// Both out of reach of Ctrl-C: between them the part would stay away.
	const detached = { detached: true };
	if (container.State.Status === "paused") await docker(["unpause", container.Id], detached);
	await docker(["stop", container.Id], detached);
	await docker(["start", container.Id], detached);
	step.detail("waiting until it answers");
	try {
		await becomesHealthy(container, interrupted);
	} catch (error) {
		if (error instanceof OpsError || (error as Error).name === "AbortError") throw error;
		throw notBack(part, error as Error, await lastWords(container));
	}
}

const missing = (part: Part): OpsError =>
	new OpsError({
		code: "PART_MISSING",
		kind: "precondition",
		what: `${part} has no container.`,
		fix: "npm start",
	});

const notBack = (part: Part, cause: Error, said: string[]): OpsError =>
	new OpsError({
		code: "NOT_BACK",
		kind: "unhealthy",
		what: `${part} was started again and is not healthy: ${cause.message}.`,
		fix: `npx mlgate logs ${part} --tail 50`,
		said: { by: part, lines: said },
	});
