/**
 * Starts the inference API anew without a pause, for images that read their model once: a candidate from the same
 * spec proves itself first, stands in while the part's own container is started again, and goes.
 *
 * Pulumi's container stays the one it knows. Requests find whoever has the name `api` on `serve`.
 */
import { ALIAS, hostName, LABEL } from "../../infra/contract.ts";
import { askApi } from "./api.ts";
import { type Container, containerOf, docker, inspectContainer, lastLines, stop } from "./docker.ts";
import { control } from "./door.ts";
import { OpsError } from "./errors.ts";
import type { Report } from "./report.ts";
import { sleep } from "./sleep.ts";
import { firstLine } from "./text.ts";

/** How long a container may take to be healthy, and then to answer with its model. As in `infra/api.ts`. */
const HEALTHY_MS = 180_000;
const READY_MS = 120_000;
/** Reading a model at the first request takes its time. */
const ANSWER_MS = 60_000;
const PAUSE_MS = 1_000;
/** Answers in a row that say no, until it is believed. 503 says "not yet" and is waited out. */
const REFUSALS = 3;
const NOT_YET = 503;
const LOG_LINES = 15;

export interface TakeOver {
	/** The stack's name on the host. */
	name: string;
	/** A path that answers below 400 only with a usable model; empty: healthy is enough. */
	ready: string;
	report: Report;
	interrupted: AbortSignal;
	/** Puts the stage back: what is started after it reads the version that served before. */
	putBack(): Promise<void>;
}

/**
 * @throws OpsError CANDIDATE_FAILED if the candidate does not get there (nothing was touched then), or TAKEOVER_FAILED
 * if the container did not come back with the new version: then the stage is back, and so is the old version.
 */
export async function takeOver(job: TakeOver): Promise<void> {
	const { name, report } = job;
	const [api, door] = await Promise.all([containerOf(name, "api"), containerOf(name, "door")]);
	if (!api || !door) throw new Error(`${name} has no api or no door`);
	await removeCandidate(name);
	const candidate = await report.step("Trying the version in a candidate", async ({ detail }) => {
		const made = await create(name, api);
		try {
			await docker(["start", made.Id]);
			await proven(made, door, job, detail);
			return made;
		} catch (error) {
			await tellLastLines(made, report);
			await removeCandidate(name);
			throw failed("CANDIDATE_FAILED", "A candidate with that version does not serve.", error);
		}
	});
	await report.step("Starting the API anew while the candidate serves", async ({ detail }) => {
		const serve = hostName.network(name, "serve");
		await connect(serve, candidate, [ALIAS.api]);
		try {
			await retire(serve, api, job, detail);
			await renew(serve, api, door, job, detail);
		} catch (error) {
			await tellLastLines(api, report);
			detail("putting the stage back");
			await job.putBack();
			// Whatever stopped the wait, the old version has to come back. If it does not, the candidate stays: it serves.
			await renew(serve, api, door, { ...job, ready: "", interrupted: NEVER }, detail);
			await retire(serve, candidate, job, detail);
			await removeCandidate(name);
			throw failed("TAKEOVER_FAILED", "The API did not come back with that version.", error);
		}
		await retire(serve, candidate, job, detail);
		await removeCandidate(name);
	});
}

const NEVER = new AbortController().signal;

/**
 * Takes a container off the network while the other one serves. Few images finish what they are answering when they
 * are told to stop, so the door lets no request begin until none is running.
 */
async function retire(
	network: string,
	{ Id }: Container,
	{ name, report }: TakeOver,
	detail: (text: string) => void,
): Promise<void> {
	detail("waiting for what it is answering");
	const { drained, running } = await control(name, "hold", { part: "api" });
	try {
		if (!drained) report.note(`${running} requests to the API take too long to be waited for; they are cut.`);
		await docker(["network", "disconnect", network, Id]);
	} finally {
		await control(name, "release", { part: "api" });
	}
}

/** Nobody finds it while it starts: without the name it gets no requests. */
async function renew(
	serve: string,
	api: Container,
	door: Container,
	job: TakeOver,
	detail: (text: string) => void,
): Promise<void> {
	detail("stopping");
	await stop(api);
	await connect(serve, api, []);
	await docker(["start", api.Id]);
	try {
		await proven(api, door, job, detail);
	} finally {
		await connect(serve, api, [ALIAS.api]);
	}
}

/** Aliases cannot be changed in place. */
async function connect(network: string, { Id }: Container, aliases: readonly string[]): Promise<void> {
	const isThere = (await inspectContainer(Id))?.NetworkSettings.Networks[network] !== undefined;
	if (isThere) await docker(["network", "disconnect", network, Id]);
	await docker(["network", "connect", ...aliases.flatMap((alias) => ["--alias", alias]), network, Id]);
}

/** Removes the candidate that is there, with the grace that it was made with. */
export async function removeCandidate(name: string): Promise<void> {
	const wanted = `/${hostName.candidate(name, "api")}`;
	const found = await inspectContainer(wanted.slice(1));
	if (!found || found.Config.Labels[LABEL.stack] !== name) return;
	await stop(found);
	await docker(["rm", "--force", found.Id]);
}

/** Healthy, and ready if that can be asked. */
async function proven(
	container: Container,
	door: Container,
	{ ready, interrupted }: TakeOver,
	detail: (text: string) => void,
): Promise<void> {
	detail("waiting until it is healthy");
	await becomesHealthy(container, interrupted);
	if (!ready) return;
	detail(`asking ${ready}`);
	await becomesReady(container, door, ready, interrupted);
}

async function becomesHealthy({ Id }: Container, interrupted: AbortSignal): Promise<void> {
	for (const begun = Date.now(); ; await sleep(PAUSE_MS, interrupted)) {
		const state = (await inspectContainer(Id))?.State;
		if (state?.Health?.Status === "healthy" || (state?.Status === "running" && !state.Health)) return;
		if (state?.Status !== "running" || (state.Health?.Status === "unhealthy" && state.Health.Log?.length)) {
			const said = firstLine(state?.Health?.Log?.at(-1)?.Output ?? "");
			const ended = state?.OOMKilled
				? "it was killed for memory"
				: `it ended with code ${state?.ExitCode ?? "unknown"}`;
			throw new Error(state?.Status === "running" ? `it is unhealthy${said && `: ${said}`}` : ended);
		}
		if (Date.now() - begun > HEALTHY_MS) throw new Error(`it was not healthy within ${HEALTHY_MS / 1000} s`);
	}
}

async function becomesReady(
	container: Container,
	door: Container,
	path: string,
	interrupted: AbortSignal,
): Promise<void> {
	const host = container.Name.slice(1);
	for (let refusals = 0, begun = Date.now(); ; await sleep(PAUSE_MS, interrupted)) {
		const answer = await askApi(door, container, path, { host, timeoutMs: ANSWER_MS });
		if ("status" in answer && answer.status < 400) return;
		const said =
			"error" in answer
				? answer.error
				: `GET ${path} answered ${answer.status}: ${firstLine(answer.body).slice(0, 300)}`;
		refusals = "status" in answer && answer.status !== NOT_YET ? refusals + 1 : 0;
		if (refusals >= REFUSALS || Date.now() - begun > READY_MS) throw new Error(said);
	}
}

/** The parts of `docker inspect` that make a container of the same spec. */
interface Made extends Container {
	Config: Container["Config"] & {
		Hostname: string;
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
		ShmSize: number;
		IpcMode: string;
		LogConfig: { Type: string; Config: Record<string, string> | null };
		Mounts: { Type: string; Source: string; Target: string; ReadOnly?: boolean }[] | null;
	};
}

/** A container like this one, with its own name, without the alias, and not restarted. */
async function create(name: string, api: Container): Promise<Container> {
	const serve = hostName.network(name, "serve");
	const { Config, HostConfig } = api as Made;
	const each = <T>(flag: string, values: Iterable<T> | null | undefined, text: (value: T) => string) =>
		[...(values ?? [])].flatMap((value) => [flag, text(value)]);
	const pairs = (values: Record<string, string> | null | undefined) => Object.entries(values ?? {});
	const health = Config.Healthcheck;
	const [form, ...words] = health?.Test ?? [];
	const args = [
		...["create", "--name", hostName.candidate(name, "api"), "--hostname", Config.Hostname],
		...["--label", `${LABEL.stack}=${name}`, "--label", `${LABEL.part}=api-candidate`],
		...["--network", serve, "--user", Config.User, "--env-file", "/dev/stdin"],
		...(HostConfig.ReadonlyRootfs ? ["--read-only"] : []),
		...each("--cap-drop", HostConfig.CapDrop, String),
		...each("--security-opt", HostConfig.SecurityOpt, String),
		...each("--tmpfs", pairs(HostConfig.Tmpfs), ([path, options]) => `${path}:${options}`),
		...each("--ulimit", HostConfig.Ulimits, ({ Name, Soft, Hard }) => `${Name}=${Soft}:${Hard}`),
		...["--memory", String(HostConfig.Memory), "--memory-swap", String(HostConfig.MemorySwap)],
		...["--shm-size", String(HostConfig.ShmSize), "--ipc", HostConfig.IpcMode],
		...(HostConfig.Init ? ["--init"] : []),
		...each("--stop-signal", Config.StopSignal ? [Config.StopSignal] : [], String),
		...each("--stop-timeout", Config.StopTimeout ? [Config.StopTimeout] : [], String),
		...["--log-driver", HostConfig.LogConfig.Type],
		...each("--log-opt", pairs(HostConfig.LogConfig.Config), ([key, value]) => `${key}=${value}`),
		...each(
			"--mount",
			HostConfig.Mounts,
			({ Type, Source, Target, ReadOnly }) =>
				`type=${Type},source=${Source},target=${Target}${ReadOnly ? ",readonly" : ""}`,
		),
		...(health
			? [
					...["--health-cmd", form === "CMD" ? words.map(quoted).join(" ") : words.join(" ")],
					...["--health-interval", `${health.Interval}ns`, "--health-timeout", `${health.Timeout}ns`],
					...["--health-start-period", `${health.StartPeriod}ns`],
					...["--health-retries", String(health.Retries)],
				]
			: []),
		Config.Image,
	];
	// The environment on standard input: there may be secrets in it, and arguments can be read by everybody.
	const id = (await docker(args, { input: Config.Env.map((line) => `${line}\n`).join("") })).trim();
	const others = Object.keys(api.NetworkSettings.Networks).filter((network) => network !== serve);
	for (const network of others) await docker(["network", "connect", network, id]);
	const made = await inspectContainer(id);
	if (!made) throw new Error("the candidate vanished");
	return made;
}

const quoted = (word: string) => `'${word.replaceAll("'", "'\\''")}'`;

async function tellLastLines(container: Container, report: Report): Promise<void> {
	const lines = await lastLines(container, LOG_LINES);
	const title = `The last lines of ${container.Name.slice(1)}:`;
	if (lines.length > 0) report.note([title, ...lines.map((line) => `  ${line}`)].join("\n"));
}

function failed(code: string, what: string, error: unknown): unknown {
	if (error instanceof OpsError || (error as Error).name === "AbortError") return error;
	const why = (error as Error).message;
	return new OpsError({ code, kind: "unhealthy", what, why, fix: "" }, { cause: error });
}
