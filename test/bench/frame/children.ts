/** Processes on the host that are part of what is measured. They end with the bench, however it ends. */
import { type ChildProcess, type SpawnOptions, spawn } from "node:child_process";
import { once } from "node:events";
import { family, type Watched } from "./usage.ts";

export interface Child extends Watched {
	process: ChildProcess;
	stop(): Promise<void>;
}

export class Children {
	readonly #running = new Set<Child>();

	/** @param scratch where it puts what is temporary */
	start(
		name: string,
		command: readonly string[],
		options: Pick<SpawnOptions, "env" | "stdio"> & { scratch?: string } = {},
	): Child {
		const { scratch, ...rest } = options;
		// It is ended with its parent even if that one is killed.
		const child = spawn("setpriv", ["--pdeathsig", "KILL", "--", ...command], {
			stdio: ["ignore", "inherit", "inherit"],
			...rest,
		});
		const started: Child = {
			name,
			process: child,
			scratch,
			pids: () => (child.pid === undefined ? [] : family(child.pid)),
			stop: async () => {
				this.#running.delete(started);
				if (child.exitCode !== null || child.signalCode !== null) return;
				const ended = once(child, "exit");
				child.kill("SIGTERM");
				const late = setTimeout(() => child.kill("SIGKILL"), 10_000);
				await ended;
				clearTimeout(late);
			},
		};
		child.once("exit", (code, signal) => {
			if (this.#running.delete(started)) process.stderr.write(`${name} has ended: ${signal ?? code}\n`);
		});
		this.#running.add(started);
		return started;
	}

	async end(): Promise<void> {
		await Promise.all([...this.#running].map((child) => child.stop()));
	}
}
