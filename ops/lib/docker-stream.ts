/** `docker` commands whose input and output are bytes without end: dumps, objects. Nothing of them is held in memory. */
import { spawn } from "node:child_process";
import type { Readable, Writable } from "node:stream";
import { failed } from "./docker.ts";

export interface DockerStream {
	input: Writable;
	output: Readable;
	/** Resolves when the command ended well; @throws OpsError with what it said, or the signal's reason. */
	ended: Promise<void>;
	/** Ends the docker client. */
	kill(): void;
}

const KEPT_CHARS = 8_192;

/**
 * @param signal ends it. Without one it is sheltered: a process group of its own, which no Ctrl-C reaches, for what
 * must not be torn in the middle.
 */
export function openDockerStream(args: readonly string[], signal?: AbortSignal): DockerStream {
	signal?.throwIfAborted();
	const child = spawn("docker", args, { stdio: ["pipe", "pipe", "pipe"], detached: signal === undefined });
	let said = "";
	child.stderr.setEncoding("utf8").on("data", (text: string) => {
		said = (said + text).slice(-KEPT_CHARS);
	});
	// Why it does not read on stands on its stderr.
	child.stdin.on("error", () => {});
	const kill = () => void child.kill("SIGTERM");
	signal?.addEventListener("abort", kill, { once: true });
	const ended = new Promise<void>((resolve, reject) => {
		child.once("error", (error) => reject(failed(args, `docker: ${error.message}`)));
		child.once("close", (code) => {
			signal?.removeEventListener("abort", kill);
			if (code === 0) return resolve();
			reject(signal?.aborted ? signal.reason : failed(args, said));
		});
	});
	// Whoever reads the output learns of the failure there first.
	ended.catch(() => {});
	return { input: child.stdin, output: child.stdout, ended, kill };
}

/**
 * How long a command that failed may take to end and so say why, after its stream broke: it removes its container first,
 * which takes a busy engine seconds. Milliseconds.
 */
const LAST_WORDS = 10_000;

/**
 * What to tell when a stream broke: the command's own reason if it has ended by itself, else ours. The command does
 * not run any more then.
 */
export async function reasonOf(stream: DockerStream, ours: unknown): Promise<unknown> {
	// The file system's word (a full disk) is ours alone.
	const system = typeof (ours as NodeJS.ErrnoException).code === "string";
	const theirs = system
		? undefined
		: await Promise.race([
				stream.ended.then(
					() => undefined,
					(error: unknown) => error,
				),
				new Promise<undefined>((resolve) => setTimeout(resolve, LAST_WORDS, undefined).unref()),
			]);
	stream.kill();
	stream.output.destroy();
	return theirs ?? ours;
}
