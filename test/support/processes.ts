import { readdirSync, readFileSync } from "node:fs";

/** The ids of all processes below `pid`, deepest last, read from /proc. */
export function descendants(pid: number): number[] {
	const parents = new Map<number, number>();
	for (const entry of readdirSync("/proc")) {
		if (!/^\d+$/.test(entry)) continue;
		try {
			const stat = readFileSync(`/proc/${entry}/stat`, "utf8");
			parents.set(Number(entry), Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]));
		} catch {
			// It ended while we looked.
		}
	}
	const found: number[] = [];
	const queue = [pid];
	for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
		for (const [child, parent] of parents) {
			if (parent !== next) continue;
			found.push(child);
			queue.push(child);
		}
	}
	return found;
}

export function isRunning(pid: number): boolean {
	try {
		process.kill(pid, 0);
		return true;
	} catch {
		return false;
	}
}
