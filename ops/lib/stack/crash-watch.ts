/**
 * Ends the waiting for a part that will never be healthy. The provider waits for the first healthy answer until its
 * time is up, also for a container that ends right after every start.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { PARTS, type Part } from "../../../infra/contract.ts";
import { type Container, containersOf, partOf } from "../docker.ts";

/** By then it is no hiccup: a part may be started while a store is still coming up, and end once or twice. */
const RESTARTS = 5;
const AGE_MS = 30_000;
const PAUSE_MS = 3_000;

export interface CrashWatch {
	/** Aborts when a part crashes in a loop. */
	signal: AbortSignal;
	/** The part that does. */
	crashing(): Part | undefined;
	stop(): void;
}

/**
 * @param stackName the name of everything on the host.
 * @param awaited which parts are being waited for right now: others may restart for reasons of their own.
 */
export function watchForCrashes(stackName: string, awaited: () => ReadonlySet<string>): CrashWatch {
	const found = new AbortController();
	const over = new AbortController();
	let part: Part | undefined;
	const watch = async () => {
		while (!over.signal.aborted && !part) {
			await sleep(PAUSE_MS, undefined, { signal: over.signal, ref: false });
			const containers = await containersOf(stackName);
			part = PARTS.find(
				(name) => awaited().has(name) && containers.some((one) => partOf(one) === name && isLooping(one)),
			);
		}
		if (part) found.abort();
	};
	// It is stopped, or Docker does not answer: then the run itself says so.
	watch().catch(() => {});
	return { signal: found.signal, crashing: () => part, stop: () => over.abort() };
}

/** @param now milliseconds since the epoch. */
export const isLooping = (
	container: Pick<Container, "RestartCount" | "Created">,
	now: number = Date.now(),
): boolean => container.RestartCount >= RESTARTS && now - Date.parse(container.Created) >= AGE_MS;
