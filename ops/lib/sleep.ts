import { setTimeout } from "node:timers/promises";

/** Sleeps, unless `signal` aborts: then it throws. */
export async function sleep(ms: number, signal?: AbortSignal): Promise<void> {
	await setTimeout(ms, undefined, signal ? { signal } : {});
}
