/**
 * Makes the stack what the settings say while people work with it: only what changes is replaced, each new part has
 * run before its old one goes, requests wait at the door meanwhile, and what does not come up is put back.
 */
import { OPTIONAL_PARTS, PARTS, type Part } from "../../infra/contract.ts";
import { confirmInPerson } from "./ask.ts";
import { awaitHealth, notHealthy } from "./await-health.ts";
import { rehearse } from "./candidate/rehearsal.ts";
import type { Context } from "./command.ts";
import { type Container, containersOf, partOf } from "./docker.ts";
import { isHeldPart } from "./door.ts";
import { OpsError } from "./errors.ts";
import { examine } from "./health.ts";
import { type Held, Holds } from "./holds.ts";
import type { Identity } from "./identity.ts";
import { optionalIn } from "./stack/declared.ts";
import { resourcesOf } from "./stack/state.ts";
import type { LastGood, Plan, StackHandle, UpResult } from "./stack.ts";
import { list } from "./text.ts";

export interface Applied extends UpResult {
	/** Parts whose requests waited. */
	held: readonly Held[];
}

/**
 * @throws OpsError NOT_CONFIRMED (exit 6) if data would be touched; CANDIDATE_FAILED (exit 5): nothing was touched;
 * PUT_BACK (exit 5): the change failed, and the stack runs as it did before; or what Pulumi's part failed of.
 */
export async function apply(context: Context, stack: StackHandle, identity: Identity): Promise<Applied> {
	const { report, interrupted } = context;
	const { name } = identity;
	// A new stack has nothing to lose, and nobody to wait.
	if (resourcesOf(await stack.exportState()).length === 0) return { ...(await stack.up()), held: [] };
	const { plan, declared } = await stack.preview();
	if (plan.changes.length === 0) {
		await stack.adoptOrphans(report);
		return { ...NOTHING, same: plan.unchanged, url: identity.url };
	}
	if (plan.impact === "touches data") await confirmInPerson(context, name, loss(plan));
	const containers = await containersOf(name);
	const leaving = leavingParts(containers, plan);
	// Where something is amiss already, a candidate would fail of that, and there is nothing good to go back to.
	const serving =
		leaving.length > 0 && PARTS.every((part) => OPTIONAL_PARTS.has(part) || containers.some(isWell(part)));
	if (serving) {
		for (const { part, replaced } of leaving)
			if (replaced) await rehearse(part, { name, declared, report, interrupted });
	}
	const lastGood = serving ? await stack.lastGood() : undefined;
	const holds = new Holds(name, report);
	/** As soon as a part is back, so that nobody waits for the others as well. */
	const released: Promise<Held | undefined>[] = [];
	const release = (part: Part) => {
		if (isHeldPart(part)) released.push(holds.release(part));
	};
	try {
		// Who needs others first: nobody waits for a part behind one that still answers.
		for (const { part } of leaving.toReversed()) if (isHeldPart(part)) await holds.hold(part);
		interrupted.throwIfAborted();
		const result = await stack.up({ onThere: release });
		const held = [...(await Promise.all(released)), ...(await holds.releaseAll())];
		return { ...result, held: held.filter((one) => one !== undefined) };
	} catch (error) {
		const cause = await withCause(error, identity);
		if (!lastGood || interrupted.aborted) throw cause;
		throw await putBack(context, stack, lastGood, cause, identity, () => holds.releaseAll());
	} finally {
		await holds.releaseAll();
	}
}

const NOTHING = { created: 0, updated: 0, replaced: 0, deleted: 0, changed: false, held: [] };

interface Leaving {
	part: Part;
	/** Another one comes in its place. */
	replaced: boolean;
}

/** The parts that run now and that the plan stops, in the order in which they need one another. */
function leavingParts(containers: readonly Container[], { changes }: Plan): Leaving[] {
	return PARTS.flatMap((part) => {
		const change = changes.find((one) => one.part === part && one.impact !== "none");
		const container = containers.find((one) => partOf(one) === part);
		if (!change || container?.State.Status !== "running") return [];
		return [{ part, replaced: change.action === "replace" }];
	});
}

const isWell = (part: Part) => (container: Container) =>
	partOf(container) === part &&
	container.State.Status === "running" &&
	(container.State.Health?.Status ?? "healthy") === "healthy";

function loss({ changes }: Plan): string {
	const touched = changes.filter(({ impact }) => impact === "touches data");
	return `The change touches data: ${list(touched.map(({ action, resource }) => `${action} ${resource}`))}. npx mlgate preview shows all of it.`;
}

/** We know better than Pulumi which part it is that does not come up, and what it says. */
async function withCause(error: unknown, identity: Identity): Promise<unknown> {
	if (!(error instanceof OpsError && error.problem.code === "PART_UNHEALTHY")) return error;
	return notHealthy(identity, await examine(identity), { started: true });
}

async function putBack(
	{ report, interrupted }: Context,
	stack: StackHandle,
	asIn: LastGood,
	cause: unknown,
	identity: Identity,
	release: () => Promise<unknown>,
): Promise<unknown> {
	try {
		await stack.up({ asIn });
		await release();
		// The settings may want a part by now that is not there again.
		await awaitHealth({ ...identity, funnel: optionalIn(asIn).has("tailscale") }, { report, interrupted });
	} catch (second) {
		const why = second instanceof OpsError ? second.problem.what : (second as Error).message;
		return problem(cause, {
			code: "NOT_PUT_BACK",
			what: `The change failed, and ${identity.name} could not be put back to what it was.`,
			also: `Putting it back failed as well: ${why}`,
			fix: `${known(cause) ?? "Take the change back (npx mlgate config set ...)"}, then: npx mlgate up`,
		});
	}
	return problem(cause, {
		code: "PUT_BACK",
		what: `The change failed. ${identity.name} was put back: it runs as it did before.`,
		also: "The settings still say what they said.",
		fix: `${known(cause) ?? "Mend what it says"}, or take the change back; npx mlgate preview shows it.`,
	});
}

/** Codes of problems of which no more is known than that they are there. */
const UNKNOWN: ReadonlySet<string> = new Set(["NOT_HEALTHY", "PART_UNHEALTHY", "PULUMI_FAILED"]);

/** What mends the cause, where that is known. */
function known(cause: unknown): string | undefined {
	if (!(cause instanceof OpsError) || UNKNOWN.has(cause.problem.code)) return undefined;
	return cause.problem.fix.replace(/\.$/, "");
}

function problem(
	cause: unknown,
	{ code, what, also, fix }: { code: string; what: string; also: string; fix: string },
): OpsError {
	const first = cause instanceof OpsError ? cause.problem : undefined;
	const why = [first?.what ?? (cause as Error).message, first && !UNKNOWN.has(first.code) && first.why, also]
		.filter(Boolean)
		.join(" ");
	return new OpsError(
		{ code, kind: "unhealthy", what, why, fix, ...(first?.said && { said: first.said }) },
		{ cause },
	);
}
