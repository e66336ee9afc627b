/** Pulumi's own files and its deployment document: what we read there, and the little that we mend. */
import { existsSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { hostName, PROJECT } from "../../../infra/contract.ts";
import type { StackRef } from "./config-file.ts";

/** `pulumi stack export`, the fields that we use. Secrets in it stay encrypted. */
export interface Deployment {
	version: number;
	deployment: {
		resources?: StateResource[];
		pending_operations?: { resource: StateResource; type: string }[];
	};
}

export interface StateResource {
	urn: string;
	type: string;
	id?: string;
	inputs?: Record<string, unknown>;
}

const CONTAINER = "docker:index/container:Container";
const NETWORK = "docker:index/network:Network";
const VOLUME = "docker:index/volume:Volume";
export const RESOURCE_TYPE = { container: CONTAINER, network: NETWORK, volume: VOLUME } as const;

export const stateFolder = (ref: StackRef): string => join(ref.checkout, ".mlgate", "state");

/** Whether Pulumi knows the stack. The file's name ends differently if the user compresses it. */
export function hasState(ref: StackRef): boolean {
	const folder = join(stateFolder(ref), ".pulumi", "stacks", PROJECT);
	return [".json", ".json.gz", ".json.zst"].some((ending) =>
		existsSync(join(folder, `${ref.stack}${ending}`)),
	);
}

export const resourcesOf = (state: Deployment): StateResource[] => state.deployment.resources ?? [];

/** Ids of what Pulumi has made of a type. */
export const idsOf = (state: Deployment, type: string): Set<string> =>
	new Set(
		resourcesOf(state).flatMap((resource) => (resource.type === type && resource.id ? [resource.id] : [])),
	);

/** The name that the stack's data volumes carry on the host, if it has been brought up before. */
export function nameInState(state: Deployment): string | undefined {
	for (const resource of resourcesOf(state)) {
		const name = resource.inputs?.name;
		const ending = hostName.dataVolume("", "postgres");
		if (resource.type === VOLUME && resource.urn.endsWith("::postgres-data") && typeof name === "string")
			return name.endsWith(ending) ? name.slice(0, -ending.length) : undefined;
	}
	return undefined;
}

/**
 * What a killed run was doing is not known to have happened, and Pulumi refuses to go on over it. Forgetting it is
 * safe: the next run looks at the host first, and whatever was made is found there by its name.
 */
export function withoutPendingOperations(state: Deployment): { state: Deployment; dropped: number } {
	const dropped = state.deployment.pending_operations?.length ?? 0;
	const { pending_operations: _, ...deployment } = state.deployment;
	return { state: { ...state, deployment }, dropped };
}

export interface PulumiLock {
	path: string;
	pid: number;
	hostname: string;
	username: string;
	since: string;
}

/** Locks on this stack that Pulumi's runs hold, or left behind. */
export function pulumiLocks(ref: StackRef): PulumiLock[] {
	const folder = join(stateFolder(ref), ".pulumi", "locks", "organization", PROJECT, ref.stack);
	if (!existsSync(folder)) return [];
	return readdirSync(folder)
		.filter((file) => file.endsWith(".json"))
		.flatMap((file) => {
			const path = join(folder, file);
			try {
				const { pid, hostname, username, timestamp } = JSON.parse(readFileSync(path, "utf8"));
				return [{ path, pid: Number(pid), hostname, username, since: String(timestamp) }];
			} catch {
				// Released while we looked.
				return [];
			}
		});
}

/** Nobody holds it any more: made on this machine by a process that is gone, or whose number another has by now. */
export function isDead({ pid, hostname: host }: PulumiLock): boolean {
	if (host !== hostname()) return false;
	try {
		process.kill(pid, 0);
	} catch (error) {
		if ((error as NodeJS.ErrnoException).code === "ESRCH") return true;
	}
	const name = `/proc/${pid}/comm`;
	return existsSync(name) && readFileSync(name, "utf8").trim() !== "pulumi";
}

export function removeLock(lock: PulumiLock): void {
	rmSync(lock.path, { force: true });
	// The backend keeps what it knows of a file beside it.
	rmSync(`${lock.path}.attrs`, { force: true });
}
