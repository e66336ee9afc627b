/**
 * Starts the inference API anew without a pause, for images that read their model once: a candidate from the same
 * spec proves itself first, stands in while the part's own container is started again, and goes.
 *
 * Pulumi's container stays the one it knows. Requests find whoever has the name `api` on `serve`.
 */
import { ALIAS, hostName } from "../../../infra/contract.ts";
import { askApi } from "../api.ts";
import { type Container, containerOf, docker, inspectContainer, stop } from "../docker.ts";
import { OpsError } from "../errors.ts";
import { Holds } from "../holds.ts";
import type { Report } from "../report.ts";
import { sleep } from "../sleep.ts";
import { firstLine } from "../text.ts";
import { becomesHealthy, lastWords, removeCandidate, startCandidate } from "./container.ts";
import { type ContainerSpec, specOf } from "./spec.ts";

/** How long a healthy container may take to answer with its model. */
const READY_MS = 120_000;
/** Reading a model at the first request takes its time. */
const ANSWER_MS = 60_000;
const PAUSE_MS = 1_000;
/** Answers in a row that say no, until it is believed. 503 says "not yet" and is waited out. */
const REFUSALS = 3;
const NOT_YET = 503;

export interface TakeOver {
	/** The stack's name on the host. */
	name: string;
	/** A path that answers below 400 only with a usable model; empty: healthy is enough. */
	ready: string;
	report: Report;
	interrupted: AbortSignal;
	/** Puts the stage back: what is started after it reads the version that served before. */
	putBack(): Promise<void>;
}

/**
 * @throws OpsError CANDIDATE_FAILED if the candidate does not get there (nothing was touched then), or TAKEOVER_FAILED
 * if the container did not come back with the new version: then the stage is back, and so is the old version.
 */
export async function takeOver(job: TakeOver): Promise<void> {
	const { name, report } = job;
	const [api, door] = await Promise.all([containerOf(name, "api"), containerOf(name, "door")]);
	if (!api || !door) throw new Error(`${name} has no api or no door`);
	await removeCandidate(name, "api");
	const candidate = await report.step("Trying a candidate of the API", async ({ detail }) => {
		const made = await startCandidate(name, "api", candidateSpec(name, api));
		try {
			await proven(made, door, job, detail);
			return made;
		} catch (error) {
			const said = await lastWords(made);
			await removeCandidate(name, "api");
			throw failed("CANDIDATE_FAILED", "A candidate of the API does not serve.", error, said);
		}
	});
	await report.step("Starting the API anew while the candidate serves", async ({ detail }) => {
		const serve = hostName.network(name, "serve");
		await connect(serve, candidate, [ALIAS.api]);
		try {
			await retire(serve, api, job, detail);
			await renew(serve, api, door, job, detail);
		} catch (error) {
			const said = await lastWords(api);
			detail("putting the stage back");
			await job.putBack();
			// Whatever stopped the wait, the old version has to come back. If it does not, the candidate stays: it serves.
			await renew(serve, api, door, { ...job, ready: "", interrupted: NEVER }, detail);
			await retire(serve, candidate, job, detail);
			await removeCandidate(name, "api");
			throw failed("TAKEOVER_FAILED", "The API did not come back.", error, said);
		}
		await retire(serve, candidate, job, detail);
		await removeCandidate(name, "api");
	});
}

const NEVER = new AbortController().signal;

/** On `serve` first: there its name is found by. */
function candidateSpec(name: string, api: Container): ContainerSpec {
	const spec = specOf(api);
	const serve = hostName.network(name, "serve");
	return { ...spec, networks: [serve, ...spec.networks.filter((network) => network !== serve)] };
}

/**
 * Takes a container off the network while the other one serves. Few images finish what they are answering when they
 * are told to stop, so the door lets no request begin until none is running.
 */
async function retire(
	network: string,
	{ Id }: Container,
	{ name, report }: TakeOver,
	detail: (text: string) => void,
): Promise<void> {
	detail("waiting for what it is answering");
	const holds = new Holds(name, report);
	try {
		await holds.hold("api");
		await docker(["network", "disconnect", network, Id]);
	} finally {
		await holds.release("api");
	}
}

/** Nobody finds it while it starts: without the name it gets no requests. */
async function renew(
	serve: string,
	api: Container,
	door: Container,
	job: TakeOver,
	detail: (text: string) => void,
): Promise<void> {
	detail("stopping");
	await stop(api);
	await connect(serve, api, []);
	await docker(["start", api.Id]);
	try {
		await proven(api, door, job, detail);
	} finally {
		await connect(serve, api, [ALIAS.api]);
	}
}

/** Aliases cannot be changed in place. */
async function connect(network: string, { Id }: Container, aliases: readonly string[]): Promise<void> {
	const isThere = (await inspectContainer(Id))?.NetworkSettings.Networks[network] !== undefined;
	if (isThere) await docker(["network", "disconnect", network, Id]);
	await docker(["network", "connect", ...aliases.flatMap((alias) => ["--alias", alias]), network, Id]);
}

/** Healthy, and ready if that can be asked. */
async function proven(
	container: Container,
	door: Container,
	{ ready, interrupted }: TakeOver,
	detail: (text: string) => void,
): Promise<void> {
	detail("waiting until it is healthy");
	await becomesHealthy(container, interrupted);
	if (!ready) return;
	detail(`asking ${ready}`);
	await becomesReady(container, door, ready, interrupted);
}

async function becomesReady(
	container: Container,
	door: Container,
	path: string,
	interrupted: AbortSignal,
): Promise<void> {
	const host = container.Name.slice(1);
	for (let refusals = 0, begun = Date.now(); ; await sleep(PAUSE_MS, interrupted)) {
		const answer = await askApi(door, container, path, { host, timeoutMs: ANSWER_MS });
		if ("status" in answer && answer.status < 400) return;
		const said =
			"error" in answer
				? answer.error
				: `GET ${path} answered ${answer.status}: ${firstLine(answer.body).slice(0, 300)}`;
		refusals = "status" in answer && answer.status !== NOT_YET ? refusals + 1 : 0;
		if (refusals >= REFUSALS || Date.now() - begun > READY_MS) throw new Error(said);
	}
}

function failed(code: string, what: string, error: unknown, lines: string[]): unknown {
	if (error instanceof OpsError || (error as Error).name === "AbortError") return error;
	const why = (error as Error).message;
	const fix = "Mend what it says, and run the command again. What served before goes on.";
	const said = { by: "api", lines };
	return new OpsError({ code, kind: "unhealthy", what, why, fix, said }, { cause: error });
}
