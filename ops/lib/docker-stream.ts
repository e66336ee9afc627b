/**
 * `docker` commands whose input and output are bytes without end: dumps, objects. Nothing of them is held in memory.
 *
 * Two seconds after a command has ended the engine gives up what it wrote and nobody has read yet, and the exit code
 * stays 0. So a command with much to say ends only when it is told to: it writes the mark that it was given behind its
 * last byte and waits for the end of its input, which comes when the mark has arrived.
 */
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { Readable, type Writable } from "node:stream";
import { failed } from "./docker.ts";

export interface DockerStream {
	input: Writable;
	output: Readable;
	/** Resolves when the command ended well; @throws OpsError with what it said, or the signal's reason. */
	ended: Promise<void>;
	/** Ends the docker client. */
	kill(): void;
}

/** One that says all it has to say, or fails; its input is taken. */
export type MarkedStream = Omit<DockerStream, "input">;

/** What stands behind the last byte of a command's output, and nowhere else. */
export const newMark = (): string => `\nmlgate-end-${randomBytes(16).toString("hex")}\n`;

/** @param args of a command that writes the mark and waits for the end of its input. */
export function openMarkedStream(args: readonly string[], mark: string, signal?: AbortSignal): MarkedStream {
	const { input, output, ended, kill } = openDockerStream(args, signal);
	async function* whole(): AsyncGenerator<Buffer> {
		const isWhole = yield* untilMark(output, Buffer.from(mark));
		input.end();
		if (isWhole) return;
		// Its own words, if it has any.
		await ended;
		throw new Error("the engine has lost the end of what the command wrote");
	}
	return { output: Readable.from(whole(), { objectMode: false }), ended, kill };
}

/** Runs the command, marks the end of its output, and waits for that of its own input. */
const MARKING = 'mark=$1; shift; "$@" </dev/null; code=$?; printf %s "$mark"; cat >/dev/null; exit $code';

/** Runs a command in a container that has a shell, and gets all that it writes. */
export function execMarked(
	container: string,
	command: readonly string[],
	signal?: AbortSignal,
): MarkedStream {
	const mark = newMark();
	const args = ["exec", "-i", container, "sh", "-c", MARKING, "sh", mark, ...command];
	return openMarkedStream(args, mark, signal);
}

/** The bytes before the mark. @returns whether there was one */
export async function* untilMark(
	output: AsyncIterable<Buffer>,
	mark: Buffer,
): AsyncGenerator<Buffer, boolean> {
	let held: Buffer = Buffer.alloc(0);
	for await (const chunk of output) {
		const bytes = held.length === 0 ? chunk : Buffer.concat([held, chunk]);
		const safe = Math.max(0, bytes.length - mark.length);
		held = bytes.subarray(safe);
		if (safe > 0) yield bytes.subarray(0, safe);
		if (held.equals(mark)) return true;
	}
	return false;
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
