/** A candidate: a container of a part's spec under a name of its own, that nobody finds and nothing restarts. */
import { hostName, LABEL, type Part } from "../../../infra/contract.ts";
import { type Container, docker, failingCheck, inspectContainer, lastLines, stop } from "../docker.ts";
import { sleep } from "../sleep.ts";
import { type ContainerSpec, createArgs } from "./spec.ts";

/** How long a container may take to be healthy; as in infra/. */
const HEALTHY_MS = 180_000;
const PAUSE_MS = 250;
const LOG_LINES = 15;

/** Makes it and starts it. Without the part's aliases it gets no requests. */
export async function startCandidate(name: string, part: Part, spec: ContainerSpec): Promise<Container> {
	const labels = [`${LABEL.stack}=${name}`, `${LABEL.part}=${part}-candidate`];
	const id = (
		await docker(
			[
				...["create", "--name", hostName.candidate(name, part)],
				...labels.flatMap((label) => ["--label", label]),
				// An alias on every network, like every hostname: it must be nobody's.
				...["--hostname", `${part}-candidate`],
				...createArgs(spec),
			],
			{ input: spec.env.map((line) => `${line}\n`).join(""), piped: true },
		)
	).trim();
	try {
		for (const network of spec.networks.slice(1)) await docker(["network", "connect", network, id]);
		await docker(["start", id]);
	} catch (error) {
		await removeCandidate(name, part);
		throw error;
	}
	const made = await inspectContainer(id);
	if (!made) throw new Error("the candidate vanished");
	return made;
}

/** Removes the candidate that is there, with the grace that it was made with. */
export async function removeCandidate(name: string, part: Part): Promise<void> {
	const found = await inspectContainer(hostName.candidate(name, part));
	if (!found || found.Config.Labels[LABEL.stack] !== name) return;
	await stop(found);
	// With its volumes without a name.
	await docker(["rm", "--force", "--volumes", found.Id]);
}

/** @throws Error that says why it will not be healthy */
export async function becomesHealthy({ Id }: Container, interrupted: AbortSignal): Promise<void> {
	for (const begun = Date.now(); ; await sleep(PAUSE_MS, interrupted)) {
		const container = await inspectContainer(Id);
		if (container?.State.Status !== "running") throw new Error(endingOf(container));
		const wrong = await failingCheck(container);
		if (wrong === undefined) return;
		const { Health } = container.State;
		if (Health?.Status === "unhealthy" && Health.Log?.length) throw new Error(`it is unhealthy: ${wrong}`);
		if (Date.now() - begun > HEALTHY_MS)
			throw new Error(`it was not healthy within ${HEALTHY_MS / 1000} s: ${wrong}`);
	}
}

/** For what runs to its end. @throws Error unless it ends with 0 */
export async function endsWell({ Id }: Container, interrupted: AbortSignal): Promise<void> {
	for (const begun = Date.now(); ; await sleep(PAUSE_MS, interrupted)) {
		const container = await inspectContainer(Id);
		if (container?.State.Status === "exited" && container.State.ExitCode === 0) return;
		if (container?.State.Status !== "running") throw new Error(endingOf(container));
		if (Date.now() - begun > HEALTHY_MS) throw new Error(`it did not end within ${HEALTHY_MS / 1000} s`);
	}
}

function endingOf(container: Container | undefined): string {
	if (container?.State.OOMKilled) return "it was killed for memory";
	return `it ended with code ${container?.State.ExitCode ?? "unknown"}`;
}

/** What it wrote last. */
export const lastWords = (container: Container): Promise<string[]> => lastLines(container, LOG_LINES);
