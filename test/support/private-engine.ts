/**
 * A Docker engine of a test's own, for what must not happen to the machine's: it is pruned, ended and killed, and its
 * disk is filled. It lives in namespaces of its own. As soon as the first process in there ends, and it does when the
 * test's process does, the kernel ends all others, containers among them; mounts and bridges go with them.
 */
import { type ChildProcess, spawn } from "node:child_process";
import {
	closeSync,
	mkdirSync,
	mkdtempSync,
	openSync,
	readdirSync,
	readFileSync,
	rmSync,
	writeFileSync,
} from "node:fs";
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
/** In its folder. */
const DATA = "data";
const FILLER = `${DATA}/filler`;

/** What others have freed again since, in bytes. */
const FULL = 1 << 20;

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
 * reaps still looks alive to the next engine. The disk is a file; the kernel lets go of it at the last unmount.
 */
const FIRST = `
set -eu
awk -v root="$1/" 'index($2, root) == 1 || $2 ~ "^(/var)?/run/(docker|containerd)/" { print $2 }' /proc/self/mounts |
	tac | while read -r mount; do umount --lazy "$mount"; done
for folder in /run/docker /run/containerd; do
	mkdir -p "$folder"
	mount -t tmpfs tmpfs "$folder"
done
if [ -n "$2" ]; then mount -o loop "$2" "$3"; fi
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

	/**
	 * @param images those that it has from the beginning; they are built on the machine's engine.
	 * @param diskMiB of a file system of its own for all that it keeps; without one it keeps it where the machine does
	 */
	static async open(
		images: readonly Image[],
		{ diskMiB }: { diskMiB?: number } = {},
	): Promise<PrivateEngine> {
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
		const disk = diskMiB === undefined ? "" : await makeDisk(folder, diskMiB);
		const first = spawn("nsenter", [
			`--net=/proc/${pid}/ns/net`,
			...["unshare", "--mount", "--pid", "--fork", "--mount-proc"],
			...["sh", "-c", FIRST, "sh", root, disk, join(folder, DATA)],
		]);
		first.stdin.on("error", () => {});
		const engine = new PrivateEngine(folder, holder, first);
		try {
			await firstWord(first);
			writeFileSync(engine.#file("daemon.json"), JSON.stringify(engine.#configuration()));
			await engine.start();
			const own = await engine.docker("info", "--format", "{{.DockerRootDir}}");
			if (own !== engine.#file(DATA)) throw new Error(`another engine answers, whose files are at ${own}`);
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

	/** Docker's `--network` for containers of the machine's engine that are to find what is published on this one. */
	get network(): string {
		return `container:${this.#holder}`;
	}

	/** Starts it, and waits until it answers. */
	async start(): Promise<void> {
		const log = openSync(this.#file("dockerd.log"), "a");
		const program = which("dockerd") ?? "dockerd";
		this.#daemon = spawn("nsenter", [...this.#inside, program, "--config-file", this.#file("daemon.json")], {
			stdio: ["ignore", log, log],
			env: { ...process.env, PATH: `${process.env.PATH}:${SYSTEM_FOLDERS}` },
		});
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

	/** Where on its disk, for `runInside`. */
	onDisk(name: string): string {
		return join(this.#file(DATA), name);
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

	/** The same where its files and processes are, too: what it keeps on a disk of its own is not seen from elsewhere. */
	runInside(command: string, args: readonly string[], options: RunOptions = {}): Promise<Ended> {
		return run("nsenter", [...this.#inside, command, ...args], {
			...options,
			env: { ...options.env, DOCKER_HOST: this.host },
		});
	}

	/** `fetch` of what is published on this engine. @throws where nobody answers */
	async fetch(url: string, init: RequestInit = {}): Promise<Response> {
		const script = `
			const { url, init } = JSON.parse(await text(process.stdin));
			const answer = await fetch(url, init);
			const { status } = answer;
			console.log(JSON.stringify({ status, headers: [...answer.headers], body: await answer.text() }));`;
		const said = await this.run(
			process.execPath,
			["--input-type=module", "-e", `import { text } from "node:stream/consumers";${script}`],
			{ input: JSON.stringify({ url, init }) },
		);
		if (said.code !== 0) throw new Error(`no answer of ${url}: ${said.stderr}`);
		const { body, ...rest } = JSON.parse(said.stdout);
		return new Response(body, rest);
	}

	/** Takes all that is left on its disk, to the last block. Again: what has become free since. */
	async fillDisk(): Promise<void> {
		const script = `
			fallocate -o "$(stat -c %s "$0" 2>/dev/null || echo 0)" -l "$(df -B1 --output=avail "$1" | tail -n 1)" "$0"
			cat /dev/zero >>"$0"`;
		await this.runInside("sh", ["-c", script, this.#file(FILLER), this.#file(DATA)]);
		const free = await this.freeBytes();
		if (free > FULL) throw new Error(`${free} bytes are still free`);
	}

	async freeDisk(): Promise<void> {
		await this.runInside("rm", ["-f", this.#file(FILLER)]);
	}

	async freeBytes(): Promise<number> {
		const { stdout } = await this.runInside("df", ["-B1", "--output=avail", this.#file(DATA)]);
		return Number(stdout.split("\n")[1]);
	}

	/** Everything goes, whatever state it is in. */
	async close(): Promise<void> {
		try {
			// In order first, because the kernel's end leaves the control groups of the containers behind.
			await this.#tidy().catch((error: Error) => process.stderr.write(`private engine: ${error.message}\n`));
			this.#first.stdin?.end();
			await ended(this.#first, "the first process of the private engine");
		} finally {
			await this.#endClients();
			await docker("rm", "--force", "--volumes", this.#holder);
			rmSync(this.#folder, { recursive: true, force: true });
		}
	}

	/** Those of a test that failed may still be at work, in a network that goes now. */
	async #endClients(): Promise<void> {
		const ids = (await docker("ps", "--all", "--quiet")).split("\n").filter(Boolean);
		// Of others' containers some may be gone by now.
		const { stdout } = await run("docker", [
			...["inspect", "--type", "container", "--format", "{{.Id}} {{.HostConfig.NetworkMode}}", ...ids],
		]);
		const own = stdout.split("\n").filter((line) => line.endsWith(` ${this.network}`));
		for (const line of own) await run("docker", ["rm", "--force", line.split(" ")[0] ?? ""]);
	}

	async #tidy(): Promise<void> {
		if (!this.#daemon || hasEnded(this.#daemon)) return;
		const ids = (await this.docker("ps", "--all", "--quiet")).split("\n").filter(Boolean);
		if (ids.length > 0) await this.docker("rm", "--force", "--volumes", ...ids);
		await this.end("SIGTERM");
	}

	/** For nsenter. */
	get #inside(): string[] {
		const [first] = descendants(this.#first.pid ?? 0);
		return [`--target=${first}`, "--mount", "--pid", "--net"];
	}

	#file(name: string): string {
		return join(this.#folder, name);
	}

	#configuration(): Record<string, unknown> {
		const machine = machineConfiguration();
		return {
			...Object.fromEntries(WAY_OUT.flatMap((key) => (key in machine ? [[key, machine[key]]] : []))),
			hosts: [this.host],
			"data-root": this.#file(DATA),
			"exec-root": this.#file("run"),
			pidfile: this.#file("dockerd.pid"),
			// systemd knows no process by the id that it has in here.
			"exec-opts": ["native.cgroupdriver=cgroupfs"],
		};
	}

	/** One by one: each lies there twice while it is loaded. */
	async #load(images: readonly string[]): Promise<void> {
		for (const image of images) {
			const script = 'docker save "$1" | docker --host "$0" load';
			const { code, stderr } = await run("sh", ["-c", script, this.host, image]);
			if (code !== 0) throw new Error(`the image ${image} could not be loaded: ${stderr}`);
		}
		await this.docker("image", "inspect", ...images);
	}
}

/** Nothing is kept for root: what is full is full for everybody. @returns the file */
async function makeDisk(folder: string, mib: number): Promise<string> {
	const file = join(folder, "disk");
	mkdirSync(join(folder, DATA));
	const { code, stderr } = await run("mkfs.ext4", ["-q", "-m", "0", file, `${mib}M`], {
		env: { PATH: `${process.env.PATH}:${SYSTEM_FOLDERS}` },
	});
	if (code !== 0) throw new Error(`no disk could be made: ${stderr}`);
	return file;
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
