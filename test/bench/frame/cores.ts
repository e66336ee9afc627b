/** Who runs on which core. Where the kernel puts three busy processes on two cores is worth half of the figures. */
import { availableParallelism } from "node:os";
import { run } from "../../support/mlgate.ts";
import type { Watched } from "./usage.ts";

/** What is compared on one, its clients and the stub behind it on another; undefined: there is only one. */
export const CORE: Readonly<Record<"compared" | "around", number>> | undefined =
	availableParallelism() > 1 ? { compared: 0, around: 1 } : undefined;

/** Keeps all threads of all processes of a part on a core, and those that they make from now on. */
export async function pin(part: Watched, side: "compared" | "around"): Promise<void> {
	if (CORE === undefined) return;
	for (const pid of part.pids()) {
		const ended = await run("taskset", [
			...["--all-tasks", "--cpu-list", "--pid"],
			...[String(CORE[side]), String(pid)],
		]);
		if (ended.code !== 0) throw new Error(`${part.name} cannot be kept on a core: ${ended.stderr}`);
	}
}
