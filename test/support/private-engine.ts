/**
 * A Docker engine of a test's own, for what must not happen to the machine's: it is pruned, ended and killed. It lives in
 * namespaces of its own. As soon as the first process in there ends, and it does when the test's process does, the
 * kernel ends all others, containers among them; mounts and bridges go with them.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, mkdtempSync, openSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Image } from "../../infra/contract.ts";
import { imageRef } from "../../infra/images.ts";
import { ensureImages } from "../../ops/lib/build-images.ts";
import { reasonIn } from "../../ops/lib/engine.ts";
import { silent } from "../../ops/lib/report.ts";
import { which } from "../../ops/lib/which.ts";
import { docker, type Ended, type RunOptions, run } from "./mlgate.ts";
import { descendants, isRunning } from "./processes.ts";

/** Value: the process id of the test that made it. */
const LABEL = "mlgate.private-engine";
const FOLDER = "mlgate-engine-";

const ANSWER_MS = 60_000;
/** Longer than the longest grace of a part: an engine that is ended waits for its containers. */
const END_MS = 180_000;

/** It looks for its helpers there, whatever the PATH of who tests. */
const SYSTEM_FOLDERS = "/usr/local/sbin:/usr/sbin:/sbin";

/** Settings of the machine's engine without which no registry could be reached. */
const WAY_OUT = [
	"registry-mirrors",
	"insecure-registries",
	"proxies",
	"dns",
	"dns-opts",
	"dns-search",
	"mtu",
];

/**
 * The first process. Containers of the machine must not be kept alive by a second mount of theirs, and the machine's
 * containerd must not be found. The shell takes over and reaps whoever loses its parent: a dead containerd that nobody
 * reaps still looks alive to the next engine.
 */
const FIRST = `
set -eu
awk -v root="$1/" 'index($2, root) == 1 || $2 ~ "^(/var)?/run/(docker|containerd)/" { print $2 }' /proc/self/mounts |
	tac | while read -r mount; do umount --lazy "$mount"; done
for folder in /run/docker /run/containerd; do
	mkdir -p "$folder"
	mount -t tmpfs tmpfs "$folder"
done
exec 3<&0
cat <&3 >/dev/null &
echo ready
wait
`;

export class PrivateEngine {
	readonly #folder: string;
	readonly #holder: string;
	readonly #first: ChildProcess;
	/** Starts the engine, and ends when it does. */
	#daemon: ChildProcess | undefined;

	private constructor(folder: string, holder: string, first: ChildProcess) {
		this.#folder = folder;
		this.#holder = holder;
		this.#first = first;
	}

	/** @param images those that it has from the beginning; they are built on the machine's engine. */
	static async open(images: readonly Image[]): Promise<PrivateEngine> {
		await removeForgotten();
		await ensureImages(silent, ["keeper", ...images]);
		const folder = mkdtempSync(join(tmpdir(), `${FOLDER}${process.pid}-`));
		// Whose network it is: a bridge of the machine's engine is a way out, and goes with the container.
		const holder = await docker(
			...["run", "--detach", "--name", `${FOLDER}${process.pid}`, "--label", `${LABEL}=${process.pid}`],
			...["--network", "bridge", imageRef("keeper")],
		);
		const [pid, root] = await Promise.all([
			docker("inspect", "--format", "{{.State.Pid}}", holder),
			docker("info", "--format", "{{.DockerRootDir}}"),
		]);
		const first = spawn("nsenter", [
			`--net=/proc/${pid}/ns/net`,
			...["unshare", "--mount", "--pid", "--fork", "--mount-proc", "sh", "-c", FIRST, "sh", root],
		]);
		first.stdin.on("error", () => {});
		const engine = new PrivateEngine(folder, holder, first);
		try {
			await firstWord(first);
			writeFileSync(engine.#file("daemon.json"), JSON.stringify(engine.#configuration()));
			await engine.start();
			const own = await engine.docker("info", "--format", "{{.DockerRootDir}}");
			if (own !== engine.#file("data")) throw new Error(`another engine answers, whose files are at ${own}`);
			await engine.#load(images.map((image) => imageRef(image)));
		} catch (error) {
			await engine.close();
			throw error;
		}
		return engine;
	}

	/** As DOCKER_HOST has it. */
	get host(): string {
		return `unix://${this.#file("docker.sock")}`;
	}

	/** Starts it, and waits until it answers. */
	async start(): Promise<void> {
		const log = openSync(this.#file("dockerd.log"), "a");
		const [first] = descendants(this.#first.pid ?? 0);
		const program = which("dockerd") ?? "dockerd";
		this.#daemon = spawn(
			"nsenter",
			[
				...[`--target=${first}`, "--mount", "--pid", "--net"],
				...[program, "--config-file", this.#file("daemon.json")],
			],
			{ stdio: ["ignore", log, log], env: { ...process.env, PATH: `${process.env.PATH}:${SYSTEM_FOLDERS}` } },
		);
		closeSync(log);
		for (const end = performance.now() + ANSWER_MS; ; await sleep(200)) {
			if ((await run("docker", ["--host", this.host, "version"])).code === 0) return;
			if (hasEnded(this.#daemon) || performance.now() > end)
				throw new Error(
					`the engine does not start: ${reasonIn(readFileSync(this.#file("dockerd.log"), "utf8"))}`,
				);
		}
	}

	/** Ends the engine alone, and waits until it is over. What a killed one has started goes on. */
	async end(signal: "SIGTERM" | "SIGKILL"): Promise<void> {
		const daemon = this.#daemon;
		if (!daemon || hasEnded(daemon)) return;
		const [pid] = descendants(daemon.pid ?? 0);
		if (pid) process.kill(pid, signal);
		await ended(daemon, "the engine");
	}

	/** `docker <args>` with this engine; fails with what it said. Returns stdout, trimmed. */
	docker(...args: string[]): Promise<string> {
		return docker("--host", this.host, ...args);
	}

	/** Runs a program where this engine's ports are, and `docker` without further words means this engine. */
	run(command: string, args: readonly string[], options: RunOptions = {}): Promise<Ended> {
		return run("nsenter", [`--net=/proc/${this.#first.pid}/ns/net`, command, ...args], {
			...options,
			env: { ...options.env, DOCKER_HOST: this.host },
		});
	}

	/** Everything goes, whatever state it is in. */
	async close(): Promise<void> {
		try {
			// In order first, because the kernel's end leaves the control groups of the containers behind.
			await this.#tidy().catch((error: Error) => process.stderr.write(`private engine: ${error.message}\n`));
			this.#first.stdin?.end();
			await ended(this.#first, "the first process of the private engine");
		} finally {
			await docker("rm", "--force", "--volumes", this.#holder);
			rmSync(this.#folder, { recursive: true, force: true });
		}
	}

	async #tidy(): Promise<void> {
		if (!this.#daemon || hasEnded(this.#daemon)) return;
		const ids = (await this.docker("ps", "--all", "--quiet")).split("\n").filter(Boolean);
		if (ids.length > 0) await this.docker("rm", "--force", "--volumes", ...ids);
		await this.end("SIGTERM");
	}

	#file(name: string): string {
		return join(this.#folder, name);
	}

	#configuration(): Record<string, unknown> {
		const machine = machineConfiguration();
		return {
			...Object.fromEntries(WAY_OUT.flatMap((key) => (key in machine ? [[key, machine[key]]] : []))),
			hosts: [this.host],
			"data-root": this.#file("data"),
			"exec-root": this.#file("run"),
			pidfile: this.#file("dockerd.pid"),
			// systemd knows no process by the id that it has in here.
			"exec-opts": ["native.cgroupdriver=cgroupfs"],
		};
	}

	async #load(images: readonly string[]): Promise<void> {
		const { code, stderr } = await run("sh", [
			...["-c", 'docker save "$@" | docker --host "$0" load', this.host, ...images],
		]);
		if (code !== 0) throw new Error(`the images could not be loaded: ${stderr}`);
		await this.docker("image", "inspect", ...images);
	}
}

function machineConfiguration(): Record<string, unknown> {
	try {
		return JSON.parse(readFileSync("/etc/docker/daemon.json", "utf8"));
	} catch {
		return {};
	}
}

const hasEnded = (child: ChildProcess): boolean => child.exitCode !== null || child.signalCode !== null;

async function ended(child: ChildProcess, what: string): Promise<void> {
	for (const end = performance.now() + END_MS; !hasEnded(child); await sleep(50)) {
		if (performance.now() > end) throw new Error(`${what} did not end within ${END_MS / 1000} s`);
	}
}

/** The namespaces are ready. @throws with what it said if it ends before. */
function firstWord(child: ChildProcess): Promise<void> {
	return new Promise((resolve, reject) => {
		let said = "";
		child.stdout?.once("data", () => resolve());
		child.stderr?.on("data", (text: Buffer) => {
			said += text;
		});
		child.once("error", reject);
		child.once("close", (code) => reject(new Error(`no namespaces for an engine (${code}): ${said}`)));
	});
}

/** Of tests that were killed: their engines have ended with them. */
async function removeForgotten(): Promise<void> {
	const listed = await docker(
		...["ps", "--all", "--filter", `label=${LABEL}`, "--format", `{{.ID}} {{.Label "${LABEL}"}}`],
	);
	for (const line of listed.split("\n").filter(Boolean)) {
		const [id = "", owner = ""] = line.split(" ");
		if (!isRunning(Number(owner))) await docker("rm", "--force", "--volumes", id);
	}
	for (const name of readdirSync(tmpdir())) {
		const [, owner] = new RegExp(`^${FOLDER}(\\d+)-`).exec(name) ?? [];
		if (owner && !isRunning(Number(owner))) rmSync(join(tmpdir(), name), { recursive: true, force: true });
	}
}
