/** The docker command line, as far as the commands need it. Containers are found by label, never by name. */
import { $, type ProcessPromise } from "zx";
import { LABEL, type Part } from "../../infra/contract.ts";
import { OpsError } from "./errors.ts";
import { firstLine } from "./text.ts";

/** The parts of `docker container inspect` that we read. */
export interface Container {
	Id: string;
	/** With a slash in front. */
	Name: string;
	/** ISO time. */
	Created: string;
	RestartCount: number;
	State: {
		Status: "created" | "running" | "paused" | "restarting" | "removing" | "exited" | "dead";
		ExitCode: number;
		OOMKilled: boolean;
		Error: string;
		StartedAt: string;
		FinishedAt: string;
		Health?: {
			Status: "starting" | "healthy" | "unhealthy" | "none";
			FailingStreak: number;
			Log: readonly { Start: string; End: string; ExitCode: number; Output: string }[] | null;
		};
	};
	Config: {
		Image: string;
		Env: readonly string[];
		Labels: Record<string, string>;
		Healthcheck?: { Test: readonly string[] };
	};
	HostConfig: {
		ReadonlyRootfs?: boolean;
		RestartPolicy?: { Name: string };
		/** Bytes. */
		Memory?: number;
		LogConfig?: { Type: string; Config: Record<string, string> | null };
		PortBindings: Record<string, readonly { HostIp: string; HostPort: string }[] | null> | null;
	};
	Mounts: readonly { Type: string; Name?: string; Destination: string; RW: boolean }[];
	NetworkSettings: { Networks: Record<string, { Aliases: readonly string[] | null; IPAddress: string }> };
}

export interface Volume {
	Name: string;
	Labels: Record<string, string> | null;
	CreatedAt: string;
}

export interface Network {
	Id: string;
	Name: string;
	/** By container id. */
	Containers: Record<string, { Name: string }>;
}

/** How the engine says that it is not to be had. */
const UNREACHABLE: readonly [RegExp, string, string][] = [
	[
		/permission denied while trying to connect/i,
		"This user may not talk to the Docker engine.",
		"Add the user to the group `docker` (sudo usermod -aG docker $USER), log in again, then try again.",
	],
	[
		/cannot connect to the docker daemon|is the docker daemon running|error during connect/i,
		"The Docker engine does not answer.",
		"Start it (sudo systemctl start docker), or run `npm start`, which does.",
	],
	[
		/docker: (command )?not found|not found: docker|spawn docker ENOENT/i,
		"There is no Docker on this machine.",
		"Run `npm start`: it installs the engine.",
	],
];

export interface DockerOptions {
	input?: string;
	/** The input through a pipe, which can be opened as /dev/stdin; what Node gives a child is a socket. */
	piped?: boolean;
	/** Kills the docker client; what it began in the engine goes on. */
	signal?: AbortSignal;
	timeoutMs?: number;
	/** Ctrl-C does not reach it: for steps that must not be left half done. */
	detached?: boolean;
}

/** Longer than any health check of ours takes. */
const CHECK_MS = 15_000;

const quiet = { quiet: true, nothrow: true };

/** Starts `docker <args>`; for those who read its output as it comes. Never throws by itself. */
export function start(args: readonly string[], options: DockerOptions = {}): ProcessPromise {
	const { input = "", piped = false, signal, timeoutMs, detached = false } = options;
	const limits = { signal, detached, ...(timeoutMs ? { timeout: timeoutMs } : {}) };
	const run = $({ ...quiet, ...limits, input });
	return piped ? run`cat | docker ${args}` : run`docker ${args}`;
}

/**
 * Runs `docker <args>` to its end.
 * @throws OpsError ENGINE_UNREACHABLE (exit 3) if no engine answers, DISK_FULL (exit 3), else DOCKER_FAILED with what
 * docker said.
 */
export async function docker(args: readonly string[], options: DockerOptions = {}): Promise<string> {
	const result = await start(args, options);
	if (result.exitCode === 0) return result.stdout;
	throw failed(args, result.stderr || result.stdout);
}

/** Said by the engine, or by the program in a container. */
const FULL = /no space left on device/i;

/** The error for a docker command that ended badly. */
export function failed(args: readonly string[], output: string): OpsError {
	const [, why, fix] = UNREACHABLE.find(([pattern]) => pattern.test(output)) ?? [];
	if (why && fix) return new OpsError({ code: "ENGINE_UNREACHABLE", kind: "precondition", what: why, fix });
	const full = output.split("\n").find((line) => FULL.test(line));
	if (full)
		return new OpsError({
			code: "DISK_FULL",
			kind: "precondition",
			what: "The disk where Docker keeps its files is full.",
			why: full.trim(),
			fix: "Free some space there (docker system df shows what Docker takes), then run the command again.",
		});
	return new OpsError({
		code: "DOCKER_FAILED",
		kind: "internal",
		what: `\`docker ${args.slice(0, 2).join(" ")}\` failed.`,
		why: firstLine(output.replace(/^Error response from daemon: /, "")),
		fix: "Mend what Docker names, then try again.",
	});
}

/** Objects that vanish between the listing and the look are left out. */
async function inspect<T>(kind: "container" | "volume" | "network", ids: readonly string[]): Promise<T[]> {
	if (ids.length === 0) return [];
	const args = [kind, "inspect", ...ids];
	const result = await start(args);
	if (result.exitCode !== 0 && !/no such (container|volume|network)|not found/i.test(result.stderr)) {
		throw failed(args, result.stderr);
	}
	return JSON.parse(result.stdout || "[]") as T[];
}

/** One container by id or name, if there is such a one. */
export const inspectContainer = async (id: string): Promise<Container | undefined> =>
	(await inspect<Container>("container", [id]))[0];

const words = (text: string) => text.split(/\s+/).filter(Boolean);

/** All containers of a stack, running or not: parts, keeper, training jobs. */
export async function containersOf(name: string): Promise<Container[]> {
	const filter = `label=${LABEL.stack}=${name}`;
	return inspect<Container>(
		"container",
		words(await docker(["ps", "-aq", "--no-trunc", "--filter", filter])),
	);
}

/** Names of our images by id: containers are made from ids. */
export async function imageNames(): Promise<Map<string, string>> {
	const format = "{{.ID}} {{.Repository}}:{{.Tag}}";
	const listing = await docker([
		"image",
		"ls",
		"--no-trunc",
		"--filter",
		"reference=mlgate-*",
		"--format",
		format,
	]);
	return new Map(listing.split("\n").map((line) => line.split(" ") as [string, string]));
}

export const partOf = (container: Container) => container.Config.Labels[LABEL.part];

/** The container of a part; if a failed replacement left two, the younger one. */
export async function containerOf(name: string, part: Part | "keeper"): Promise<Container | undefined> {
	return (await containersOf(name))
		.filter((container) => partOf(container) === part)
		.sort((a, b) => b.Created.localeCompare(a.Created))[0];
}

/** The data volumes of a stack, by label. */
export async function dataVolumesOf(name: string): Promise<Volume[]> {
	const volumes = await volumesOf(name);
	return volumes.filter((volume) => volume.Labels?.[LABEL.data] !== undefined);
}

/** All volumes of a stack: data, secrets, scratch. */
export async function volumesOf(name: string): Promise<Volume[]> {
	const filter = `label=${LABEL.stack}=${name}`;
	return inspect<Volume>("volume", words(await docker(["volume", "ls", "-q", "--filter", filter])));
}

export async function networksOf(name: string): Promise<Network[]> {
	const filter = `label=${LABEL.stack}=${name}`;
	const ids = words(await docker(["network", "ls", "-q", "--no-trunc", "--filter", filter]));
	return inspect<Network>("network", ids);
}

/** Stops with the container's own grace and signal, as the program set them. */
export async function stop(container: Container): Promise<void> {
	await docker(["stop", container.Id]);
}

/**
 * Runs the health check that the container was made with, now: Docker itself asks only every few seconds, and a
 * restart shall not wait for that. Every check of ours is a round trip through the part.
 * @returns what is wrong, or undefined if it is healthy or has no check.
 */
export async function failingCheck({ Id, Config }: Container): Promise<string | undefined> {
	const [form = "NONE", ...command] = Config.Healthcheck?.Test ?? [];
	if (form === "NONE") return undefined;
	const words = form === "CMD-SHELL" ? ["/bin/sh", "-c", ...command] : command;
	const { exitCode, stdout, stderr } = await start(["exec", Id, ...words], { timeoutMs: CHECK_MS });
	return exitCode === 0 ? undefined : firstLine(stdout) || firstLine(stderr) || `exit code ${exitCode}`;
}

/** The last lines a container wrote, both streams together in their order. */
export const lastLines = (container: Container, lines: number): Promise<string[]> =>
	linesUntil(container, lines);

/** The last lines that it wrote up to a time (ISO); up to now without one. */
export async function linesUntil(container: Container, lines: number, until?: string): Promise<string[]> {
	const limit = until === undefined ? [] : ["--until", until];
	// docker writes the container's stderr to its own stderr; the shell joins them.
	const result = await $(quiet)`docker logs --tail ${lines} ${limit} ${container.Id} 2>&1`;
	return result.stdout.split("\n").filter((line) => line.trim() !== "");
}
