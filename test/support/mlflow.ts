/** The MLflow behind the test stack's door, seen from behind: what it holds, and what it is asked. */
import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface, type Interface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { hostName } from "../../infra/contract.ts";
import { imageRef } from "../../infra/images.ts";
import { CHECKOUT, NAME } from "./mlgate.ts";

const script = (name: string): string => readFileSync(join(CHECKOUT, "test", "support", name), "utf8");

/** A Python program that goes on until it is told to end. */
class Program {
	readonly lines: string[] = [];
	readonly #child: ChildProcessWithoutNullStreams;
	readonly #out: Interface;
	#stderr = "";

	constructor(args: readonly string[]) {
		this.#child = spawn("docker", args);
		this.#child.stdin.on("error", () => {});
		this.#child.stderr.setEncoding("utf8").on("data", (text: string) => {
			this.#stderr += text;
		});
		this.#out = createInterface(this.#child.stdout).on("line", (line) => this.lines.push(line));
	}

	send(text: string): void {
		this.#child.stdin.write(text);
	}

	/** @throws with what it said on stderr if it ends before it has said so many lines */
	async until(count: number): Promise<void> {
		while (this.lines.length < count) {
			if (this.#child.exitCode !== null) throw new Error(`docker ended early: ${this.#stderr}`);
			await sleep(5);
		}
	}

	async end(): Promise<void> {
		const ended = new Promise((resolve) => this.#child.once("close", resolve));
		this.#child.stdin.end();
		this.#child.kill("SIGTERM");
		await ended;
		this.#out.close();
	}
}

/** Digests by table of MLflow's database, and of the objects in its bucket. */
export type State = Readonly<Record<string, string>>;

export interface StateReader {
	read(): Promise<State>;
	end(): Promise<void>;
}

export function openState(): StateReader {
	const program = new Program([
		"exec",
		"-i",
		hostName.container(NAME, "mlflow"),
		"python",
		"-c",
		script("state.py"),
	]);
	return {
		async read() {
			const next = program.lines.length + 1;
			program.send("\n");
			await program.until(next);
			return JSON.parse(program.lines[next - 1] ?? "");
		},
		end: () => program.end(),
	};
}

/** What has changed between two states, by name. */
export const changed = (before: State, after: State): string[] =>
	[...new Set([...Object.keys(before), ...Object.keys(after)])].filter(
		(name) => before[name] !== after[name],
	);

/**
 * The door asks MLflow by itself whether it is well (`proxy/forward/upstream.ts`), and the inference API asks, as a
 * viewer, which version it is to serve.
 */
const PROBES = [
	"POST /api/2.0/mlflow/registered-models/get-latest-versions ",
	"GET /health ",
	"GET /api/2.0/mlflow/experiments/search?max_results=1 ",
	"GET /api/2.0/mlflow-artifacts/artifacts?path=mlgate-probe ",
];

export interface Wire {
	/** Request lines that have arrived at MLflow since, in order, the door's own probes left out. */
	since(mark: number): Promise<string[]>;
	mark(): number;
	end(): Promise<void>;
}

/** Listens on MLflow's network, so that neither the door nor MLflow is asked what got through. */
export async function openWire(): Promise<Wire> {
	const program = new Program([
		"run",
		"--rm",
		"-i",
		"--init",
		"--network",
		`container:${hostName.container(NAME, "mlflow")}`,
		"--cap-drop",
		"ALL",
		"--cap-add",
		"NET_RAW",
		"--user",
		"0",
		"--entrypoint",
		"python",
		imageRef("mlflow"),
		"-c",
		script("wire.py"),
	]);
	await program.until(1);
	return {
		mark: () => program.lines.length,
		async since(mark) {
			// A packet that has arrived has been printed by then.
			await sleep(200);
			return program.lines.slice(mark).filter((line) => !PROBES.some((probe) => line.startsWith(probe)));
		},
		end: () => program.end(),
	};
}
