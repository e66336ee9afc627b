/**
 * The keeper: one tiny running container a stack, outside Pulumi, that mounts all data volumes read-only.
 * Docker's prune commands take volumes that no container holds, and stopped containers with theirs
 * (measured, reference/toolchain.md 6.6): a running one saves them.
 */
import { hostName, LABEL } from "../../infra/contract.ts";
import { imageRef } from "../../infra/images.ts";
import { type Container, containersOf, dataVolumesOf, docker, partOf } from "./docker.ts";
import { type Origin, originLabels } from "./origin.ts";

const PART = "keeper";

/**
 * Nobody ever means to stop it. An engine that was killed takes the containers that it finds running for stopped by hand
 * (20.10), and `unless-stopped` would leave the volumes to the next prune.
 */
const RESTART = "always";

export const isKeeper = (container: Container) => partOf(container) === PART;

/** The volumes a keeper holds. */
export const heldBy = (container: Container): string[] =>
	container.Mounts.flatMap((mount) => (mount.Type === "volume" && mount.Name ? [mount.Name] : []));

/**
 * Makes sure that a running keeper holds every data volume of the stack and knows where the stack comes from. Without
 * data volumes there is none. A keeper that misses something is replaced, the new one first, so that no volume is ever
 * without.
 * @returns true if anything had to be done.
 */
export async function ensureKeeper(name: string, origin: Origin): Promise<boolean> {
	const [volumes, containers] = await Promise.all([dataVolumesOf(name), containersOf(name)]);
	const wanted = volumes.map((volume) => volume.Name);
	if (wanted.length === 0) return false;
	const keepers = containers.filter(isKeeper);
	const labels = Object.entries(originLabels(origin));
	const complete = keepers.find(
		(keeper) =>
			wanted.every((volume) => heldBy(keeper).includes(volume)) &&
			labels.every(([key, value]) => keeper.Config.Labels[key] === value) &&
			keeper.HostConfig.RestartPolicy?.Name === RESTART,
	);
	if (complete?.State.Status === "running" && keepers.length === 1) return false;

	const id = complete && (await revived(complete)) ? complete.Id : await run(name, wanted, labels);
	for (const other of keepers.filter((keeper) => keeper.Id !== id)) await docker(["rm", "-f", other.Id]);
	const expected = hostName.container(name, PART);
	if (complete?.Id !== id || complete.Name !== `/${expected}`) await docker(["rename", id, expected]);
	return true;
}

async function revived(keeper: Container): Promise<boolean> {
	if (keeper.State.Status === "running") return true;
	const verb = keeper.State.Status === "paused" ? "unpause" : "start";
	return docker([verb, keeper.Id]).then(
		() => true,
		() => false,
	);
}

/** @returns the id of the new container, which has a name of its own until the old one is gone. */
async function run(
	name: string,
	volumes: readonly string[],
	labels: readonly (readonly [string, string])[],
): Promise<string> {
	const output = await docker([
		...["run", "--detach", "--name", `${hostName.container(name, PART)}-${Date.now()}`],
		...["--label", `${LABEL.stack}=${name}`, "--label", `${LABEL.part}=${PART}`],
		...labels.flatMap(([key, value]) => ["--label", `${key}=${value}`]),
		...["--restart", RESTART, "--network", "none", "--read-only", "--cap-drop", "ALL"],
		...[
			"--security-opt",
			"no-new-privileges",
			"--memory",
			"32m",
			"--memory-swap",
			"32m",
			"--pids-limit",
			"16",
		],
		...["--log-opt", "max-size=1m", "--log-opt", "max-file=1"],
		// nocopy: a fresh volume takes the owner of its directory from its part's image, not from the keeper's.
		...volumes.flatMap((volume) => [
			"--mount",
			`type=volume,source=${volume},target=/volumes/${volume},readonly,volume-nocopy`,
		]),
		imageRef("keeper"),
	]);
	return output.trim();
}

/** Removes the keeper; only before the volumes themselves go. */
export async function removeKeeper(name: string): Promise<void> {
	for (const keeper of (await containersOf(name)).filter(isKeeper)) await docker(["rm", "-f", keeper.Id]);
}
