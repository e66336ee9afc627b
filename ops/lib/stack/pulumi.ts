/**
 * Runs the Pulumi CLI: for the Automation API, in place of its own runner, and for what that API would do with
 * secrets in arguments or in files that anybody may read.
 */
import { spawn } from "node:child_process";
import { delimiter, dirname, join } from "node:path";
import { PulumiCommand } from "@pulumi/pulumi/automation/index.js";
import { OpsError } from "../errors.ts";

/** A run of the CLI that ended badly. */
export class PulumiFailure extends Error {
	override readonly name = "PulumiFailure";
	readonly stdout: string;
	readonly stderr: string;

	constructor(command: string, stdout: string, stderr: string) {
		super(`pulumi ${command} failed: ${stderr.trim() || stdout.trim()}`);
		this.stdout = stdout;
		this.stderr = stderr;
	}
}

export interface PulumiRun {
	stdout: string;
	stderr: string;
	code: number;
}

/** Milliseconds that an interrupted run may take to finish the step it is in. */
const PATIENCE = 10_000;

type Listener = (text: string) => void;

export class Pulumi {
	readonly command: string;
	readonly version: PulumiCommand["version"];
	readonly #cwd: string;
	readonly #env: Record<string, string>;
	readonly #interrupt: AbortSignal;

	private constructor(
		found: PulumiCommand,
		options: { cwd: string; env: Record<string, string>; interrupt: AbortSignal },
	) {
		this.command = found.command;
		this.version = found.version;
		this.#cwd = options.cwd;
		this.#env = options.env;
		this.#interrupt = options.interrupt;
	}

	/**
	 * @param root holds `bin/pulumi`.
	 * @throws OpsError PULUMI_MISSING
	 */
	static async find(
		root: string,
		options: { cwd: string; env: Record<string, string>; interrupt: AbortSignal },
	): Promise<Pulumi> {
		try {
			return new Pulumi(await PulumiCommand.get({ root }), options);
		} catch (cause) {
			throw new OpsError(
				{
					code: "PULUMI_MISSING",
					kind: "precondition",
					what: `The Pulumi CLI in ${join(root, "bin")} does not run.`,
					why: (String(cause).match(/(?:spawn|Command failed|version).*/i)?.[0] ?? String(cause)).trim(),
					fix: `Remove ${root} and run npx mlgate up; it installs the CLI again.`,
				},
				{ cause },
			);
		}
	}

	/** What the Automation API takes for its own runner: it calls `run` and reads `version`. */
	get forAutomation(): PulumiCommand {
		return this as unknown as PulumiCommand;
	}

	/** Runs a command of ours. `input` goes to its standard input. */
	exec(args: readonly string[], input = ""): Promise<PulumiRun> {
		return this.run([...args], this.#cwd, {}, undefined, undefined, undefined, input);
	}

	/** As the Automation API calls it. */
	async run(
		args: string[],
		cwd: string,
		env: Record<string, string>,
		onOutput?: Listener,
		onError?: Listener,
		_signal?: AbortSignal,
		input = "",
	): Promise<PulumiRun> {
		if (this.#interrupt.aborted) throw new PulumiFailure(args[0] ?? "", "", "interrupted");
		const child = spawn(this.command, [...args, "--non-interactive"], {
			cwd,
			env: {
				...process.env,
				...env,
				...this.#env,
				PULUMI_AUTOMATION_API: "true",
				// Plugins that belong to this CLI lie beside it.
				PATH: [dirname(this.command), process.env.PATH].join(delimiter),
			},
			// A group of its own: a terminal's Ctrl-C must reach it once, through us. Twice means "drop everything" to it.
			detached: true,
			stdio: ["pipe", "pipe", "pipe"],
		});
		let insistence: NodeJS.Timeout | undefined;
		const interrupt = () => {
			child.kill("SIGINT");
			// A second time it stops waiting, for a part to become healthy for example. The next run mends what that leaves.
			insistence ??= setTimeout(() => child.kill("SIGINT"), PATIENCE).unref();
		};
		this.#interrupt.addEventListener("abort", interrupt, { once: true });
		process.once("exit", interrupt);
		try {
			const streams = { stdout: "", stderr: "" };
			collect(child.stdout, (text) => {
				streams.stdout += text;
				onOutput?.(text);
			});
			collect(child.stderr, (text) => {
				streams.stderr += text;
				onError?.(text);
			});
			// It may have ended before it read anything.
			child.stdin.on("error", () => {});
			child.stdin.end(input);
			const code = await new Promise<number>((resolve, reject) => {
				child.once("error", reject);
				child.once("close", (code) => resolve(code ?? 1));
			});
			if (code !== 0) throw new PulumiFailure(args[0] ?? "", streams.stdout, streams.stderr);
			return { ...streams, code };
		} finally {
			clearTimeout(insistence);
			this.#interrupt.removeEventListener("abort", interrupt);
			process.removeListener("exit", interrupt);
		}
	}
}

function collect(stream: NodeJS.ReadableStream, take: Listener): void {
	stream.setEncoding("utf8");
	stream.on("data", take);
}
