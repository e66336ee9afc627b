/**
 * The one place where a part becomes a container. Every safe default and every trap of the docker provider is here,
 * once, so that the parts only say what they need.
 */
import { createHash } from "node:crypto";
import { Container, type ContainerArgs, type Network, RemoteImage, type Volume } from "@pulumi/docker";
import { all, ComponentResource, type Input, type Output, type Resource, unsecret } from "@pulumi/pulumi";
import { CPU_SHARES, hostName, LABEL, PATH, type Part, UID } from "./contract.ts";
import { imageRef } from "./images.ts";
import type { SecretFiles } from "./secrets.ts";
import { createVolume } from "./volumes.ts";

/** What a part needs. Memory in MiB, times in seconds. */
export interface ServiceSpec {
	stackName: string;
	part: Part;
	memory: number;
	/** Never a secret: whoever may ask Docker sees the environment. */
	env: Readonly<Record<string, string>>;
	/** Added to the environment, for images that read nothing else: encrypted in the state, open to Docker's users. */
	secretEnv?: Output<Readonly<Record<string, string>>>;
	networks: readonly { network: Network; aliases: readonly string[] }[];
	volumes: readonly { volume: Volume; path: string; readOnly?: boolean }[];
	/** Writable folders in memory, path -> MiB. The root is read-only. */
	tmpfs: Readonly<Record<string, number>>;
	/** `grace`: from the stop signal to the kill, whoever stops the container. */
	stop: { grace: number; signal: "SIGTERM" | "SIGINT" };
	/** `start`: failures that early do not count. The check itself is the image's, if not said. */
	health: { start: number; interval: number; timeout: number; check?: readonly string[] };
	/** How long `up` waits for the first healthy answer. */
	wait: number;
	/** A process 1 of Docker's that passes signals on and reaps, for programs that were not written to be one. */
	init?: boolean;
	/** `/dev/shm` in MiB; Docker's 64 if not said. */
	sharedMemory?: number;
	/** A port on the host's loopback. There is no way to publish to anywhere else. */
	publish?: { hostPort: number; port: number };
}

/** What differs between containers of the same part. */
export interface Instance {
	/** The container's name on the host. */
	name: string;
	/** Image id; a name could mean another image tomorrow. */
	image: Input<string>;
	/** Name of the volume with the secret files, if the part has any. */
	secrets?: Input<string>;
}

/** Said where an image has no check of its own at this place. */
const OWN_CHECK = ["CMD", "/usr/local/bin/health"];

export function containerArgs(spec: ServiceSpec, instance: Instance): ContainerArgs {
	return {
		name: instance.name,
		// Docker makes it an alias on every network: with the part's own one a container that must not be found would be.
		hostname: instance.name,
		image: instance.image,
		labels: [
			{ label: LABEL.part, value: spec.part },
			{ label: LABEL.stack, value: spec.stackName },
		],
		envs: spec.secretEnv
			? spec.secretEnv.apply((secrets) => lines({ ...spec.env, ...secrets }))
			: lines(spec.env),

		user: `${UID[spec.part]}:${UID[spec.part]}`,
		// Docker stores these names, and the provider reads them back: another spelling would replace at each refresh.
		capabilities: { drops: ["ALL"] },
		securityOpts: ["no-new-privileges:true"],
		privileged: false,
		readOnly: true,
		tmpfs: Object.fromEntries(
			Object.entries(spec.tmpfs).map(([path, size]) => [
				path,
				`rw,noexec,nosuid,nodev,size=${size}m,mode=1777`,
			]),
		),
		// A core dump would put secrets on a data volume.
		ulimits: [{ name: "core", soft: 0, hard: 0 }],

		restart: "unless-stopped",
		// Else the image's or the engine's default would decide.
		init: spec.init ?? false,
		stopSignal: spec.stop.signal,
		// For `docker stop` and the engine's own shutdown ...
		stopTimeout: spec.stop.grace,
		// ... and for the provider, which kills at once without it.
		destroyGraceSeconds: spec.stop.grace,
		// `docker rm -v` would take volumes along.
		removeVolumes: false,

		memory: spec.memory,
		// Without it Docker allows as much swap again, and reads back a number that was never written.
		memorySwap: spec.memory,
		shmSize: spec.sharedMemory ?? 64,
		...(CPU_SHARES[spec.part] !== undefined && { cpuShares: CPU_SHARES[spec.part] }),
		ipcMode: "private",
		logDriver: "json-file",
		logOpts: { "max-size": "10m", "max-file": "5" },

		healthcheck: {
			tests: [...(spec.health.check ?? OWN_CHECK)],
			startPeriod: goDuration(spec.health.start),
			interval: goDuration(spec.health.interval),
			timeout: goDuration(spec.health.timeout),
			retries: 3,
		},
		wait: true,
		waitTimeout: spec.wait,

		mounts: [
			...spec.volumes.map(({ volume, path, readOnly }) => ({
				type: "volume",
				source: volume.name,
				target: path,
				...(readOnly && { readOnly }),
			})),
			...(instance.secrets
				? [{ type: "volume", source: instance.secrets, target: PATH.secrets, readOnly: true }]
				: []),
		],
		// The container is made on the default bridge and then moved; said outright, or each refresh finds a change.
		networkMode: "bridge",
		// By output: replacing a network takes its containers down first, which it must.
		networksAdvanced: spec.networks.map(({ network, aliases }) => ({
			name: network.name,
			aliases: [...aliases],
		})),
		ports: spec.publish
			? [{ ip: "127.0.0.1", external: spec.publish.hostPort, internal: spec.publish.port }]
			: [],
		publishAllPorts: false,
	};
}

const lines = (env: Readonly<Record<string, string>>): string[] =>
	Object.entries(env).map(([key, value]) => `${key}=${value}`);

/** Changes that the provider takes for done without doing anything. */
const IGNORED_IN_PLACE = ["healthcheck", "init", "tmpfs"];

/** A part as it runs: image, secret files, container. */
export abstract class Service extends ComponentResource {
	/**
	 * @param spec `image`: of somebody else's, instead of the one that `ops` builds. `secrets`: if the part has any.
	 * @param after what must be healthy before the container starts.
	 */
	protected constructor(
		type: string,
		spec: ServiceSpec & { image?: string; secrets?: SecretFiles },
		after: readonly Resource[] = [],
	) {
		super(`mlgate:part:${type}`, spec.part);
		const image = localImage(`${spec.part}-image`, spec.image ?? imageRef(spec.part), this);
		const secrets = spec.secrets && createSecrets(spec, spec.secrets, this);
		new Container(
			spec.part,
			containerArgs(spec, {
				name: hostName.container(spec.stackName, spec.part),
				image: image.imageId,
				...(secrets && { secrets: secrets.volume.name }),
			}),
			{
				parent: this,
				dependsOn: [...(secrets ? [secrets.courier] : []), ...after],
				// A named container with a published port cannot be made beside the old one.
				deleteBeforeReplace: true,
				replaceOnChanges: IGNORED_IN_PLACE,
				// Parts read their secrets when they start.
				...(secrets && { replacementTrigger: secrets.fingerprint }),
			},
		);
		this.registerOutputs();
	}
}

/** The volume with a part's secret files, the courier that fills it, and what changes with its content. */
function createSecrets(spec: ServiceSpec, files: SecretFiles, parent: Resource) {
	const volume = createVolume(`${spec.part}-secrets`, {
		stackName: spec.stackName,
		hostName: hostName.secretsVolume(spec.stackName, spec.part),
		parent,
	});
	return { volume, courier: createCourier(spec, files, volume, parent), fingerprint: fingerprint(files) };
}

/**
 * Brings the secret files of a part into its volume: a container that is made and never started.
 *
 * The part's own container cannot take them. The provider uploads to `/`, which Docker refuses for a read-only root;
 * and with an owner given, engines before 26 look the container's user up among the host's users. The courier's image
 * has no user, so that owner and mode are taken as written.
 */
function createCourier(spec: ServiceSpec, files: SecretFiles, volume: Volume, parent: Resource): Container {
	const owner = String(UID[spec.part]);
	return new Container(
		`${spec.part}-courier`,
		{
			name: hostName.courier(spec.stackName, spec.part),
			image: localImage(`${spec.part}-courier-image`, imageRef("courier"), parent).imageId,
			// Docker wants one; it is not in the image.
			command: ["/never-started"],
			labels: [{ label: LABEL.stack, value: spec.stackName }],
			mounts: [{ type: "volume", source: volume.name, target: PATH.secrets }],
			uploads: Object.entries(files).map(([file, content]) => ({
				file: `${PATH.secrets}/${file}`,
				content,
				owner,
				group: owner,
				permissions: "0400",
			})),
			start: false,
			mustRun: false,
			restart: "no",
			init: false,
			networkMode: "none",
			logDriver: "none",
			removeVolumes: false,
		},
		{ parent, deleteBeforeReplace: true },
	);
}

/** An image that `ops` has built or pulled; never removed, because the last one is the way back. */
const localImage = (resource: string, name: string, parent: Resource): RemoteImage =>
	new RemoteImage(resource, { name, keepLocally: true }, { parent });

/**
 * Changes with the content. Marked as no secret, because a trigger that is one reaches the engine as null (Pulumi
 * 3.259): the passwords have 240 random bits, and their hash gives nothing away.
 */
const fingerprint = (files: SecretFiles): Output<string> =>
	unsecret(
		all(files).apply((contents) => createHash("sha256").update(JSON.stringify(contents)).digest("hex")),
	);

/** As Go writes it, because the provider reads it back like that: 90 -> `1m30s`, 3600 -> `1h0m0s`. */
export function goDuration(seconds: number): string {
	const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor((seconds % 3600) / 60)];
	return `${hours ? `${hours}h` : ""}${hours || minutes ? `${minutes}m` : ""}${seconds % 60}s`;
}
