/** Pulumi's own files and its deployment document: what we read there, and the little that we mend. */
import { existsSync, readdirSync, readFileSync, rmSync } from "node:fs";
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
	/** URNs. */
	dependencies?: readonly string[];
	/** By input: URNs. */
	propertyDependencies?: Readonly<Record<string, readonly string[] | null>>;
}

const CONTAINER = "docker:index/container:Container";
const NETWORK = "docker:index/network:Network";
const VOLUME = "docker:index/volume:Volume";
const IMAGE = "docker:index/remoteImage:RemoteImage";
export const RESOURCE_TYPE = {
	container: CONTAINER,
	network: NETWORK,
	volume: VOLUME,
	image: IMAGE,
} as const;

/** What the program declares of a tailnet. */
const OF_TAILNET: ReadonlySet<string> = new Set([
	"tailscale:index/tailnetKey:TailnetKey",
	"pulumi:providers:tailscale",
]);

/** Names of resources are unique within their type. */
export const resourceKey = (type: string, name: string): string => `${type}::${name}`;

export const stateFolder = (ref: StackRef): string => join(ref.checkout, ".mlgate", "state");

/** Whether Pulumi knows the stack. The file's name ends differently if the user compresses it. */
export function hasState(ref: StackRef): boolean {
	const folder = join(stateFolder(ref), ".pulumi", "stacks", PROJECT);
	return [".json", ".json.gz", ".json.zst"].some((ending) =>
		existsSync(join(folder, `${ref.stack}${ending}`)),
	);
}

/**
 * The state as it lies on the disk, for those who only look: no Pulumi, no lock.
 * @returns undefined if there is none, or it is compressed.
 */
export function readState(ref: StackRef): Deployment | undefined {
	const file = join(stateFolder(ref), ".pulumi", "stacks", PROJECT, `${ref.stack}.json`);
	try {
		const { version, checkpoint } = JSON.parse(readFileSync(file, "utf8"));
		return { version, deployment: checkpoint?.latest ?? {} };
	} catch {
		return undefined;
	}
}

/** Runs whose record is kept. */
const KEPT_RUNS = 20;

/** Pulumi records every run for good, with a copy of the state. Keeps the last ones. */
export function pruneHistory(ref: StackRef): void {
	const folder = stackFolder(ref, "history");
	if (!existsSync(folder)) return;
	const runs = Map.groupBy(readdirSync(folder), (file) => file.split(".")[0] ?? file);
	for (const run of [...runs.keys()].sort().slice(0, -KEPT_RUNS))
		for (const file of runs.get(run) ?? []) rmSync(join(folder, file), { force: true });
}

/** What `pulumi stack rm` leaves behind: earlier states, with the stack's secrets in them. */
export function removeTraces(ref: StackRef): void {
	for (const kind of ["history", "backups", "locks/organization"])
		rmSync(stackFolder(ref, kind), { recursive: true, force: true });
	const folder = join(stateFolder(ref), ".pulumi", "stacks", PROJECT);
	const ours = existsSync(folder)
		? readdirSync(folder).filter((file) => file.startsWith(`${ref.stack}.json`))
		: [];
	for (const file of ours) rmSync(join(folder, file), { force: true });
}

const stackFolder = (ref: StackRef, kind: string): string =>
	join(stateFolder(ref), ".pulumi", kind, PROJECT, ref.stack);

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

/**
 * Without the key that a node joins its tailnet with, and its provider. To forget it is all that it takes: the key is
 * for one node, once, and dead after an hour, while to read or remove it would take the credentials that made it.
 */
export function withoutTailnetKey(state: Deployment): { state: Deployment; dropped: number } {
	const resources = resourcesOf(state);
	const gone = new Set(resources.filter(({ type }) => OF_TAILNET.has(type)).map(({ urn }) => urn));
	const stays = (urns: readonly string[]) => urns.filter((urn) => !gone.has(urn));
	const kept = resources
		.filter(({ urn }) => !gone.has(urn))
		.map((resource) => ({
			...resource,
			...(resource.dependencies && { dependencies: stays(resource.dependencies) }),
			...(resource.propertyDependencies && {
				propertyDependencies: Object.fromEntries(
					Object.entries(resource.propertyDependencies).map(([key, urns]) => [key, stays(urns ?? [])]),
				),
			}),
		}));
	return { state: { ...state, deployment: { ...state.deployment, resources: kept } }, dropped: gone.size };
}
