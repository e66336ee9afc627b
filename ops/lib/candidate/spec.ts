/**
 * What a container is made of, from wherever it is known: one that is there, or the program's own declaration before
 * Pulumi acts on it. Both become the same arguments of `docker create`.
 */
import type { ContainerArgs } from "@pulumi/docker";
import type { Unwrap } from "@pulumi/pulumi";
import type { Container } from "../docker.ts";

/** Sizes in bytes, durations as Docker writes them. */
export interface ContainerSpec {
	image: string;
	user: string;
	/** `NAME=value`. There may be secrets among them. */
	env: readonly string[];
	/** The first one is joined when it is made, the others before it starts. */
	networks: readonly string[];
	mounts: readonly Mount[];
	tmpfs: Readonly<Record<string, string>>;
	readOnly: boolean;
	capDrop: readonly string[];
	securityOpts: readonly string[];
	ulimits: readonly { name: string; soft: number; hard: number }[];
	memory: number;
	memorySwap: number;
	/** 0: Docker's own. */
	cpuShares: number;
	shmSize: number;
	ipc: string;
	init: boolean;
	stop: { signal: string; timeout: number };
	log: { driver: string; options: Readonly<Record<string, string>> };
	health: Health | undefined;
}

export interface Mount {
	/** Name of a volume; none: one without a name, which goes with the container. */
	volume?: string;
	target: string;
	readOnly: boolean;
}

interface Health {
	test: readonly string[];
	interval: string;
	timeout: string;
	startPeriod: string;
	retries: number;
}

/** The parts of `docker inspect` that make a container of the same spec. */
interface Made extends Container {
	Config: Container["Config"] & {
		User: string;
		StopSignal?: string;
		StopTimeout?: number | null;
		Healthcheck?: { Test: string[]; Interval: number; Timeout: number; StartPeriod: number; Retries: number };
	};
	HostConfig: Container["HostConfig"] & {
		ReadonlyRootfs: boolean;
		CapDrop: string[] | null;
		SecurityOpt: string[] | null;
		Tmpfs: Record<string, string> | null;
		Ulimits: { Name: string; Soft: number; Hard: number }[] | null;
		Init: boolean | null;
		Memory: number;
		MemorySwap: number;
		CpuShares: number;
		ShmSize: number;
		IpcMode: string;
		LogConfig: { Type: string; Config: Record<string, string> | null };
		Mounts: { Source: string; Target: string; ReadOnly?: boolean }[] | null;
	};
}

/** Docker's own grace for a container that says nothing. */
const DOCKER_GRACE_S = 10;
const MIB = 1024 * 1024;

/** The spec of a container that is there. */
export function specOf(container: Container): ContainerSpec {
	const { Config, HostConfig, NetworkSettings } = container as Made;
	const check = Config.Healthcheck;
	return {
		image: Config.Image,
		user: Config.User,
		env: Config.Env,
		networks: Object.keys(NetworkSettings.Networks),
		mounts: (HostConfig.Mounts ?? []).map(({ Source, Target, ReadOnly = false }) => ({
			volume: Source,
			target: Target,
			readOnly: ReadOnly,
		})),
		tmpfs: HostConfig.Tmpfs ?? {},
		readOnly: HostConfig.ReadonlyRootfs,
		capDrop: HostConfig.CapDrop ?? [],
		securityOpts: HostConfig.SecurityOpt ?? [],
		ulimits: (HostConfig.Ulimits ?? []).map(({ Name, Soft, Hard }) => ({
			name: Name,
			soft: Soft,
			hard: Hard,
		})),
		memory: HostConfig.Memory,
		memorySwap: HostConfig.MemorySwap,
		cpuShares: HostConfig.CpuShares,
		shmSize: HostConfig.ShmSize,
		ipc: HostConfig.IpcMode,
		init: HostConfig.Init ?? false,
		stop: { signal: Config.StopSignal ?? "SIGTERM", timeout: Config.StopTimeout ?? DOCKER_GRACE_S },
		log: { driver: HostConfig.LogConfig.Type, options: HostConfig.LogConfig.Config ?? {} },
		health: check && {
			test: check.Test,
			interval: `${check.Interval}ns`,
			timeout: `${check.Timeout}ns`,
			startPeriod: `${check.StartPeriod}ns`,
			retries: check.Retries,
		},
	};
}

/** What the program declares for a part (`containerArgs` in infra/service.ts), its outputs resolved. */
export type DeclaredContainer = Unwrap<ContainerArgs>;

/** The spec of a container that the program declares. `image` is its id, which a preview does not always know. */
export function specFrom(declared: DeclaredContainer, image: string): ContainerSpec {
	const check = declared.healthcheck;
	return {
		image,
		user: declared.user ?? "",
		env: declared.envs ?? [],
		networks: (declared.networksAdvanced ?? []).map(({ name }) => name),
		mounts: (declared.mounts ?? []).map(({ source, target, readOnly = false }) => ({
			...(source && { volume: source }),
			target,
			readOnly,
		})),
		tmpfs: declared.tmpfs ?? {},
		readOnly: declared.readOnly ?? false,
		capDrop: declared.capabilities?.drops ?? [],
		securityOpts: declared.securityOpts ?? [],
		ulimits: declared.ulimits ?? [],
		memory: (declared.memory ?? 0) * MIB,
		memorySwap: (declared.memorySwap ?? 0) * MIB,
		cpuShares: declared.cpuShares ?? 0,
		shmSize: (declared.shmSize ?? 64) * MIB,
		ipc: declared.ipcMode ?? "private",
		init: declared.init ?? false,
		stop: { signal: declared.stopSignal ?? "SIGTERM", timeout: declared.stopTimeout ?? DOCKER_GRACE_S },
		log: { driver: declared.logDriver ?? "json-file", options: declared.logOpts ?? {} },
		health: check && {
			test: check.tests ?? [],
			interval: check.interval ?? "0s",
			timeout: check.timeout ?? "0s",
			startPeriod: check.startPeriod ?? "0s",
			retries: check.retries ?? 0,
		},
	};
}

/**
 * The arguments of `docker create` for it, without names and labels; the environment is read from standard input,
 * because arguments can be read by everybody on the host.
 */
export function createArgs(spec: ContainerSpec): string[] {
	const each = <T>(flag: string, values: Iterable<T>, text: (value: T) => string) =>
		[...values].flatMap((value) => [flag, text(value)]);
	const [network] = spec.networks;
	return [
		...["--user", spec.user, "--env-file", "/dev/stdin"],
		...(network ? ["--network", network] : []),
		...(spec.readOnly ? ["--read-only"] : []),
		...each("--cap-drop", spec.capDrop, String),
		...each("--security-opt", spec.securityOpts, String),
		...each("--tmpfs", Object.entries(spec.tmpfs), ([path, options]) => `${path}:${options}`),
		...each("--ulimit", spec.ulimits, ({ name, soft, hard }) => `${name}=${soft}:${hard}`),
		...["--memory", String(spec.memory), "--memory-swap", String(spec.memorySwap)],
		...(spec.cpuShares > 0 ? ["--cpu-shares", String(spec.cpuShares)] : []),
		...["--shm-size", String(spec.shmSize), "--ipc", spec.ipc],
		...(spec.init ? ["--init"] : []),
		...["--stop-signal", spec.stop.signal, "--stop-timeout", String(spec.stop.timeout)],
		...["--log-driver", spec.log.driver],
		...each("--log-opt", Object.entries(spec.log.options), ([key, value]) => `${key}=${value}`),
		...each(
			"--mount",
			spec.mounts,
			({ volume, target, readOnly }) =>
				`type=volume${volume ? `,source=${volume}` : ""},target=${target}${readOnly ? ",readonly" : ""}`,
		),
		...(spec.health ? healthArgs(spec.health) : []),
		spec.image,
	];
}

function healthArgs({ test, interval, timeout, startPeriod, retries }: Health): string[] {
	const [form, ...words] = test;
	return [
		...["--health-cmd", form === "CMD" ? words.map(quoted).join(" ") : words.join(" ")],
		...["--health-interval", interval, "--health-timeout", timeout],
		...["--health-start-period", startPeriod, "--health-retries", String(retries)],
	];
}

const quoted = (word: string) => `'${word.replaceAll("'", "'\\''")}'`;
