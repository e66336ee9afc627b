/**
 * Containers and networks of our stack that Pulumi does not know: left by a killed run, or by a state that is lost.
 * They hold names that the next `up` needs. Volumes are never touched here: Pulumi takes a volume that exists.
 */
import { DATA_VOLUMES, hostName, LABEL, NETWORKS, type NetworkName, PARTS } from "../../../infra/contract.ts";
import { docker } from "../docker.ts";
import { OpsError } from "../errors.ts";
import type { Report } from "../report.ts";
import { type Deployment, idsOf, RESOURCE_TYPE } from "./state.ts";

export interface Orphans {
	containers: Found[];
	networks: Found[];
}

export interface Found {
	id: string;
	name: string;
	/** Of a container, as Docker calls it; empty for a network. */
	state: string;
}

interface Listed extends Found {
	/** Value of the stack's label; empty if it has none. */
	stack: string;
}

/**
 * @param stackName the name of everything on the host (setting `name`).
 * @throws OpsError NAME_TAKEN if something that is not ours has a name that the stack needs.
 */
export async function findOrphans(stackName: string, state: Deployment): Promise<Orphans> {
	const [containers, networks] = await Promise.all([listContainers(), listNetworks()]);
	const strange = (kind: "container" | "network", listed: Listed[], names: ReadonlySet<string>) => {
		const known = idsOf(state, RESOURCE_TYPE[kind]);
		const unknown = listed.filter(({ id, name }) => names.has(name) && !known.has(id));
		const foreign = unknown.find(({ stack }) => stack !== stackName);
		if (foreign) throw nameTaken(kind, foreign.name);
		return unknown.map(({ id, name, state }) => ({ id, name, state }));
	};
	return {
		containers: strange("container", containers, containerNames(stackName)),
		networks: strange("network", networks, networkNames(stackName)),
	};
}

/** Stops containers in their own grace, dependents first, then removes them and the networks. */
export async function removeOrphans({ containers, networks }: Orphans, report: Report): Promise<void> {
	const rank = ({ name }: Found) => PARTS.findIndex((part) => name.endsWith(`-${part}`));
	for (const { id, name, state } of [...containers].sort((a, b) => rank(b) - rank(a))) {
		const line = `Removing ${name}, which an earlier run left behind; its data is in volumes and stays.`;
		if (state !== "created") report.note(line);
		else report.log(line);
		if (state === "paused") await docker(["unpause", id]);
		// No -t: the grace that the container was made with counts. One that restarts all the time must be stopped, too.
		await docker(["stop", id]);
		await docker(["rm", id]);
	}
	for (const network of networks) {
		await takeOthersOff(network, new Set(), report);
		await docker(["network", "rm", network.id]);
	}
}

/** Takes containers of other people off the stack's networks, which could not be removed with them. */
export async function freeNetworks(stackName: string, report: Report): Promise<void> {
	const [networks, containers] = await Promise.all([listNetworks(), listContainers()]);
	const own = new Set(containers.filter(({ stack }) => stack === stackName).map(({ name }) => name));
	for (const network of networks.filter(({ stack }) => stack === stackName))
		await takeOthersOff(network, own, report);
}

async function takeOthersOff({ id, name }: Found, own: ReadonlySet<string>, report: Report): Promise<void> {
	const format = "{{range .Containers}}{{println .Name}}{{end}}";
	const names = await docker(["network", "inspect", "--format", format, id]);
	for (const other of names.split("\n").filter((line) => line !== "" && !own.has(line))) {
		await docker(["network", "disconnect", "--force", id, other]);
		report.note(
			`${other} was taken off ${name}; to put it back there: docker network connect ${name} ${other}`,
		);
	}
}

/** Whether the host holds data of the stack. */
export async function hasData(stackName: string): Promise<boolean> {
	const names = (await docker(["volume", "ls", "--format", "{{.Name}}"])).split("\n");
	return DATA_VOLUMES.some((volume) => names.includes(hostName.dataVolume(stackName, volume)));
}

const containerNames = (stackName: string): ReadonlySet<string> =>
	new Set(
		[hostName.container, hostName.courier, hostName.candidate].flatMap((nameOf) =>
			PARTS.map((part) => nameOf(stackName, part)),
		),
	);

const networkNames = (stackName: string): ReadonlySet<string> =>
	new Set(Object.keys(NETWORKS).map((network) => hostName.network(stackName, network as NetworkName)));

const LABEL_FORMAT = `{{.Label "${LABEL.stack}"}}`;

async function listContainers(): Promise<Listed[]> {
	const format = `{{.ID}}\t{{.Names}}\t{{.State}}\t${LABEL_FORMAT}`;
	const rows = await table(["ps", "--all", "--no-trunc", "--format", format]);
	return rows.map(([id = "", name = "", state = "", stack = ""]) => ({ id, name, state, stack }));
}

async function listNetworks(): Promise<Listed[]> {
	const rows = await table([
		"network",
		"ls",
		"--no-trunc",
		"--format",
		`{{.ID}}\t{{.Name}}\t${LABEL_FORMAT}`,
	]);
	return rows.map(([id = "", name = "", stack = ""]) => ({ id, name, state: "", stack }));
}

const table = async (args: readonly string[]): Promise<string[][]> =>
	(await docker(args))
		.split("\n")
		.filter((line) => line !== "")
		.map((line) => line.split("\t"));

const nameTaken = (kind: "container" | "network", name: string): OpsError =>
	new OpsError({
		code: "NAME_TAKEN",
		kind: "precondition",
		what: `A ${kind} named ${name} exists already and is not of this stack.`,
		fix: `Remove or rename it, or give this stack another name: npx mlgate config set name <name>`,
	});
