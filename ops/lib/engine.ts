/**
 * The Docker engine: used if it answers, started if it is installed, installed from the distribution's own packages if
 * there is none. An engine that somebody else runs (DOCKER_HOST, a context, another distribution's packages) is used
 * and otherwise left alone.
 */
import { existsSync, readFileSync } from "node:fs";
import { userInfo } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import { aptInstall, aptUpdate, installByHand, isAvailable, isDebianFamily } from "./apt.ts";
import { hasBuildx } from "./builder.ts";
import { OpsError } from "./errors.ts";
import { exec, lastLine, type Outcome } from "./exec.ts";
import type { Report, Step } from "./report.ts";
import { type AsRoot, becomeRoot, type Consent, isRoot } from "./sudo.ts";
import { which } from "./which.ts";

export interface EngineInfo {
	/** e.g. `20.10.24` */
	version: string;
	/** The API version that client and engine agree on, e.g. `1.41`. */
	apiVersion: string;
	/** What the docker command talks to: `unix:///var/run/docker.sock`. Pulumi's provider needs it as DOCKER_HOST. */
	endpoint: string;
	/** Where the engine keeps images and volumes, a path on its own host. */
	rootDir: string;
	/** `docker build` can use BuildKit; without it, it needs DOCKER_BUILDKIT=0. */
	buildx: boolean;
}

/** Where this looks on the host; tests look elsewhere. */
export interface EngineHost {
	osRelease: string;
	/** Exists while systemd runs the host. */
	systemd: string;
	snap: string;
	pidFile: string;
	log: string;
	/** How long a started engine may take to answer. */
	patienceMs: number;
}

const HOST: EngineHost = {
	osRelease: "/etc/os-release",
	systemd: "/run/systemd/system",
	snap: "/snap/docker/current",
	pidFile: "/var/run/docker.pid",
	log: "/var/log/mlgate-dockerd.log",
	patienceMs: 60_000,
};

/** Docker 20.10, the oldest that this was tried on. */
const OLDEST_API = 41;
const ANSWER_MS = 15_000;

/** The endpoints of an engine that is this host's own to start. */
const OWN_ENDPOINTS = ["unix:///var/run/docker.sock", "unix:///run/docker.sock"];

/**
 * @throws OpsError ENGINE_* or ROOT_NEEDED or APT_FAILED, each with the one thing to do.
 */
export async function ensureEngine(
	report: Report,
	consent: Consent,
	host: EngineHost = HOST,
): Promise<EngineInfo> {
	let answer = await ask();
	report.log(`docker version: ${JSON.stringify(answer)}`);
	for (const move of ["start", "install"] as const) {
		if (answer.state !== "silent" && answer.state !== "no-client") break;
		if (!OWN_ENDPOINTS.includes(answer.endpoint)) break;
		if (move === "start" && answer.state === "silent") await startIfInstalled(report, consent, host);
		if (move === "install") await install(report, consent, host, answer.state);
		answer = await ask();
	}
	return verdict(answer);
}

/** What the docker command says. */
export type Answer =
	| { state: "answers"; info: EngineInfo }
	/** No docker command. */
	| { state: "no-client"; endpoint: string }
	/** Nobody listens at the endpoint. */
	| { state: "silent"; endpoint: string; message: string }
	/** Somebody listens, but not to this user. */
	| { state: "denied"; endpoint: string; message: string }
	/** An engine or a client that this cannot work with. */
	| { state: "unfit"; endpoint: string; message: string };

async function ask(): Promise<Answer> {
	const endpoint = await currentEndpoint();
	const outcome = await exec(["docker", "version", "--format", "{{json .}}"], { timeoutMs: ANSWER_MS });
	const answer = classify(outcome, endpoint);
	if (answer.state !== "answers") return answer;
	const [root, buildx] = await Promise.all([
		exec(["docker", "info", "--format", "{{.DockerRootDir}}"], { timeoutMs: ANSWER_MS }),
		hasBuildx(),
	]);
	return {
		state: "answers",
		info: { ...answer.info, rootDir: root.stdout.trim() || "/var/lib/docker", buildx },
	};
}

export async function currentEndpoint(): Promise<string> {
	const { code, stdout } = await exec([
		"docker",
		"context",
		"inspect",
		"--format",
		"{{.Endpoints.docker.Host}}",
	]);
	return (code === 0 && stdout.trim()) || process.env.DOCKER_HOST || "unix:///var/run/docker.sock";
}

/** Reads the outcome of `docker version --format '{{json .}}'`. */
export function classify(outcome: Outcome, endpoint: string): Answer {
	if (outcome.code === 127) return { state: "no-client", endpoint };
	const message = lastLine(outcome.stderr) || lastLine(outcome.stdout);
	if (outcome.timedOut) {
		return {
			state: "unfit",
			endpoint,
			message: `It was reached, but said nothing for ${ANSWER_MS / 1000} s.`,
		};
	}
	if (outcome.code !== 0) {
		if (/permission denied/i.test(message)) return { state: "denied", endpoint, message };
		if (/too (old|new)/i.test(message)) return { state: "unfit", endpoint, message };
		return { state: "silent", endpoint, message };
	}
	const server = serverOf(outcome.stdout);
	if (!server)
		return { state: "unfit", endpoint, message: "What is called docker here is not Docker's own command." };
	const { Version: version, ApiVersion: apiVersion } = server;
	if (Number(apiVersion.split(".")[1]) < OLDEST_API) {
		return {
			state: "unfit",
			endpoint,
			message: `The engine is ${version}; 20.10 is the oldest that will do.`,
		};
	}
	return { state: "answers", info: { version, apiVersion, endpoint, rootDir: "", buildx: false } };
}

function serverOf(text: string): { Version: string; ApiVersion: string } | undefined {
	try {
		const { Server } = JSON.parse(text);
		return typeof Server?.ApiVersion === "string" ? Server : undefined;
	} catch {
		return undefined;
	}
}

function verdict(answer: Answer): EngineInfo {
	switch (answer.state) {
		case "answers":
			return answer.info;
		case "denied":
			throw denied(answer.message);
		case "unfit":
			throw problem(
				"ENGINE_UNFIT",
				"The Docker engine cannot be used as it is.",
				answer.message,
				"Install Docker Engine 20.10 or later with its own command line (or restart an engine that hangs) and run this again.",
			);
		case "no-client":
		case "silent":
			throw problem(
				"ENGINE_UNREACHABLE",
				`The Docker engine at ${answer.endpoint} does not answer.`,
				answer.state === "silent" ? answer.message : "There is no docker command either.",
				OWN_ENDPOINTS.includes(answer.endpoint)
					? "Start it (see `journalctl -u docker` or the log of dockerd) and run this again."
					: "Start that engine, or choose another (unset DOCKER_HOST; docker context use default), and run this again.",
			);
	}
}

/** The group may be given already and only this session not know it yet. */
function denied(message: string): OpsError {
	const { username } = userInfo();
	const member = new RegExp(`^docker:[^:]*:[^:]*:(.*,)?${username}(,.*)?$`, "m").test(
		readIfThere("/etc/group"),
	);
	return problem(
		"ENGINE_PERMISSION",
		"This user may not talk to the Docker engine.",
		message,
		member
			? "You are in the group docker, but this session began before that: sign in anew (or run `newgrp docker`) and try again."
			: `Let an administrator run \`usermod -aG docker ${username}\`, sign in anew and try again.`,
	);
}

function problem(code: string, what: string, why: string, fix: string): OpsError {
	return new OpsError({ code, kind: "precondition", what, why, fix });
}

function readIfThere(path: string): string {
	return existsSync(path) ? readFileSync(path, "utf8") : "";
}

/** How an engine is started, by what runs the host. The first that applies is taken. */
interface Starter {
	applies(host: EngineHost): Promise<boolean> | boolean;
	byHand: string;
	start(asRoot: AsRoot, host: EngineHost, report: Report): Promise<Attempt>;
}
/** `failed` says why as soon as it is known. */
interface Attempt {
	failed(): Promise<string | undefined> | string | undefined;
}

const STARTERS: readonly Starter[] = [
	{
		applies: async ({ systemd }) => existsSync(systemd) && (await unitExists()),
		byHand: "sudo systemctl start docker",
		async start(asRoot) {
			const { code, stderr } = await asRoot(["systemctl", "start", "docker"]);
			if (code === 0) return { failed: () => undefined };
			const journal = await asRoot([
				"journalctl",
				"--unit=docker",
				"--lines=20",
				"--no-pager",
				"--output=cat",
			]);
			return { failed: () => reasonIn(journal.stdout) || lastLine(stderr) };
		},
	},
	{
		applies: ({ systemd, snap }) => existsSync(systemd) && existsSync(snap),
		byHand: "sudo snap start docker",
		async start(asRoot) {
			const { code, stderr } = await asRoot(["snap", "start", "docker"]);
			return { failed: () => (code === 0 ? undefined : lastLine(stderr)) };
		},
	},
	{
		applies: () => which("dockerd") !== undefined,
		byHand: "sudo dockerd >/tmp/dockerd.log 2>&1 &",
		start: startDaemon,
	},
];

async function unitExists(): Promise<boolean> {
	const { stdout } = await exec(["systemctl", "list-unit-files", "--no-legend", "docker.service"]);
	return stdout.includes("docker.service");
}

/** Without an init system (containers, small virtual machines): in a session of its own, so that it outlives us. */
async function startDaemon(asRoot: AsRoot, { log, pidFile }: EngineHost, report: Report): Promise<Attempt> {
	await removeStalePidFile(asRoot, pidFile, report);
	const script = 'PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin" setsid "$0" </dev/null >"$1" 2>&1 & echo $!';
	const { stdout } = await asRoot(["sh", "-c", script, which("dockerd") ?? "dockerd", log]);
	const pid = stdout.trim();
	return {
		async failed() {
			if (existsSync(`/proc/${pid}`)) return undefined;
			const { stdout } = await asRoot(["tail", "-n", "30", log]);
			return reasonIn(stdout) || `dockerd ended at once; its log is ${log}`;
		},
	};
}

/** dockerd takes any living process with the pid of its last run for itself; after a crash that may be anybody. */
async function removeStalePidFile(asRoot: AsRoot, pidFile: string, report: Report): Promise<void> {
	const pid = readIfThere(pidFile).trim();
	if (!pid || readIfThere(`/proc/${pid}/comm`).trim() === "dockerd") return;
	report.log(`removing ${pidFile}: process ${pid} is no dockerd`);
	await asRoot(["rm", "-f", pidFile]);
}

/** The line in which dockerd says why it does not start: `failed to start daemon: ...` if there is one. */
export function reasonIn(log: string): string {
	const lines = log.split("\n").filter((line) => line.trim());
	const said = lines.findLast((line) => /failed to start daemon|level=fatal/i.test(line));
	return (
		said ?? lines.findLast((line) => /level=error|\berror\b|\bfailed\b/i.test(line)) ?? lines.at(-1) ?? ""
	);
}

async function startIfInstalled(report: Report, consent: Consent, host: EngineHost): Promise<void> {
	for (const starter of STARTERS) {
		if (!(await starter.applies(host))) continue;
		const asRoot = await becomeRoot(report, consent, {
			purpose: "start the Docker engine",
			byHand: starter.byHand,
		});
		await report.step("Starting the Docker engine", (step) => start(starter, asRoot, report, step, host));
		return;
	}
}

async function start(
	starter: Starter,
	asRoot: AsRoot,
	report: Report,
	step: Step,
	host: EngineHost,
): Promise<void> {
	const attempt = await starter.start(asRoot, host, report);
	const deadline = performance.now() + host.patienceMs;
	step.detail("waiting for its answer");
	for (;;) {
		const answer = await ask();
		if (answer.state !== "silent") return;
		const why = await attempt.failed();
		if (why || performance.now() > deadline) {
			throw problem(
				"ENGINE_START_FAILED",
				"The Docker engine does not start.",
				why || `It did not answer within ${host.patienceMs / 1000} s.`,
				`Mend what it names, see that this works, then try again: ${starter.byHand}`,
			);
		}
		await sleep(500);
	}
}

async function install(
	report: Report,
	consent: Consent,
	host: EngineHost,
	state: "silent" | "no-client",
): Promise<void> {
	const daemon = which("dockerd") !== undefined;
	// It was started and fell silent again: no package will change that.
	if (daemon && state === "silent") return;
	if (!isDebianFamily(host.osRelease)) {
		throw problem(
			"ENGINE_MISSING",
			daemon ? "The docker command is missing." : "The Docker engine is not installed.",
			"mlgate can install it on Debian and Ubuntu alone.",
			"Install Docker Engine 20.10 or later from your distribution's packages and run this again.",
		);
	}
	const packages = ["docker.io", "iptables", "ca-certificates"];
	const user = isRoot() ? undefined : userInfo().username;
	const asRoot = await becomeRoot(report, consent, {
		purpose: `install the Docker engine from the distribution's packages${user ? `, and let ${user} use it (group docker)` : ""}`,
		byHand: `${installByHand(packages)}${user ? ` && sudo usermod -aG docker ${user}` : ""}`,
	});
	await report.step("Installing the Docker engine", async (step) => {
		await aptUpdate(report, asRoot, step);
		// Since Debian 13 the command line is a package of its own, merely recommended by the engine.
		if (!which("docker") && (await isAvailable("docker-cli"))) packages.push("docker-cli");
		// Where the kernel enforces AppArmor, no container starts without its parser.
		if (readIfThere("/sys/module/apparmor/parameters/enabled").startsWith("Y")) packages.push("apparmor");
		await aptInstall(report, asRoot, step, packages);
	});
	if ((await ask()).state === "silent") await startIfInstalled(report, consent, host);
	if (user) await letIn(asRoot, user);
}

/**
 * Membership of the group counts from the next sign-in on. Until then the user owns the socket, which the engine makes
 * anew (and root's) whenever it starts.
 */
async function letIn(asRoot: AsRoot, user: string): Promise<void> {
	await asRoot(["usermod", "-aG", "docker", user]);
	await asRoot(["chown", user, "/var/run/docker.sock"]);
}
