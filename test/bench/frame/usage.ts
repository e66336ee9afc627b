/** What processes use: CPU, memory and temporary disk, read from /proc and the file system. */
import { lstatSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { descendants } from "../../support/processes.ts";

const PAGE = 4096;
const PACE = 50;

/** Something that runs, in one process or many. */
export interface Watched {
	name: string;
	pids(): number[];
	/** Where its temporary files lie. */
	scratch?: string | undefined;
}

export const family = (pid: number): number[] => [pid, ...descendants(pid)];

const quietly = <T>(read: () => T, otherwise: T): T => {
	try {
		return read();
	} catch {
		// It ended, or was removed, while we looked.
		return otherwise;
	}
};

/** Seconds of CPU of all threads so far, in nanoseconds' resolution. */
export function cpu(watched: Watched): number {
	let total = 0;
	for (const pid of watched.pids()) {
		for (const thread of quietly(() => readdirSync(`/proc/${pid}/task`), [])) {
			const stat = quietly(() => readFileSync(`/proc/${pid}/task/${thread}/schedstat`, "utf8"), "0");
			total += Number(stat.split(" ")[0]);
		}
	}
	return total / 1e9;
}

/** How often the first thread of each process has fallen asleep so far, to be woken by something. */
export const sleeps = (watched: Watched): number =>
	watched
		.pids()
		.map((pid) => quietly(() => readFileSync(`/proc/${pid}/status`, "utf8"), ""))
		.map((status) => Number(/^voluntary_ctxt_switches:\s+(\d+)/m.exec(status)?.[1] ?? 0))
		.reduce((sum, count) => sum + count, 0);

/** Bytes in memory. Pages that processes share count for each of them. */
export const resident = (watched: Watched): number =>
	watched
		.pids()
		.map(
			(pid) => Number(quietly(() => readFileSync(`/proc/${pid}/statm`, "utf8"), "0 0").split(" ")[1]) * PAGE,
		)
		.reduce((sum, bytes) => sum + bytes, 0);

/** Bytes of all files under a folder. */
export function disk(folder: string | undefined): number {
	if (folder === undefined) return 0;
	let total = 0;
	for (const entry of quietly(() => readdirSync(folder, { withFileTypes: true, recursive: true }), [])) {
		if (entry.isFile()) total += quietly(() => lstatSync(join(entry.parentPath, entry.name)).blocks * 512, 0);
	}
	return total;
}

/** Of one part while something happened. */
export interface Use {
	name: string;
	/** Seconds. */
	cpu: number;
	/** Bytes at most, beyond what it had before. */
	memory: number;
	disk: number;
}

/** Looks at parts while something happens. */
export async function watching<T>(
	parts: readonly Watched[],
	work: () => Promise<T>,
): Promise<{ result: T; use: Use[] }> {
	const before = parts.map((part) => ({ cpu: cpu(part), memory: resident(part), disk: disk(part.scratch) }));
	const most = before.map(({ memory, disk }) => ({ memory, disk }));
	const look = () => {
		for (const [i, part] of parts.entries()) {
			const at = most[i];
			if (at === undefined) continue;
			at.memory = Math.max(at.memory, resident(part));
			at.disk = Math.max(at.disk, disk(part.scratch));
		}
	};
	const timer = setInterval(look, PACE);
	try {
		const result = await work();
		look();
		const use = parts.map((part, i) => ({
			name: part.name,
			cpu: cpu(part) - (before[i]?.cpu ?? 0),
			memory: (most[i]?.memory ?? 0) - (before[i]?.memory ?? 0),
			disk: (most[i]?.disk ?? 0) - (before[i]?.disk ?? 0),
		}));
		return { result, use };
	} finally {
		clearInterval(timer);
	}
}
