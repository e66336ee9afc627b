/** Volumes: the data volumes, locked, and those that can be made again at any time. */
import { Volume } from "@pulumi/docker";
import type { Resource } from "@pulumi/pulumi";
import { DATA_VOLUMES, type DataVolume, hostName, LABEL } from "./contract.ts";

export type DataVolumes = Readonly<Record<DataVolume, Volume>>;

/** All that more than one part, or the keeper, has to do with. */
export const createVolumes = (stackName: string) => ({
	data: createDataVolumes(stackName),
	/** Through it the door hands the inference API its token. */
	service: createVolume("service", { stackName, hostName: hostName.serviceVolume(stackName) }),
});

const STACK_LABEL = (stackName: string) => ({ label: LABEL.stack, value: stackName });

/**
 * Losing one of these loses runs or sign-ins, and every attribute of a volume replaces it. So from the first `up`:
 * `protect` refuses replacement and destruction, `retainOnDelete` leaves the volume if Pulumi forgets it, and
 * changes that would replace it are not looked at. A volume that exists is adopted with its content.
 */
function createDataVolumes(stackName: string): DataVolumes {
	const create = (volume: DataVolume) =>
		new Volume(
			`${volume}-data`,
			{
				name: hostName.dataVolume(stackName, volume),
				driver: "local",
				labels: [STACK_LABEL(stackName), { label: LABEL.data, value: "true" }],
			},
			{ protect: true, retainOnDelete: true, ignoreChanges: ["labels", "driver", "driverOpts"] },
		);
	return Object.fromEntries(DATA_VOLUMES.map((volume) => [volume, create(volume)])) as Record<
		DataVolume,
		Volume
	>;
}

/** A volume whose content the stack makes itself. */
export function createVolume(
	resource: string,
	args: { stackName: string; hostName: string; parent?: Resource },
): Volume {
	return new Volume(
		resource,
		{ name: args.hostName, driver: "local", labels: [STACK_LABEL(args.stackName)] },
		// Made beside the old one it would be the old one, and be deleted as such.
		{ ...(args.parent && { parent: args.parent }), deleteBeforeReplace: true },
	);
}
