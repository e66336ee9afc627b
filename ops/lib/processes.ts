/** What the kernel knows about processes (Linux, /proc). */
import { readdirSync, readFileSync } from "node:fs";

/** The fields of /proc/<pid>/stat after the command's name, which may itself hold spaces and parentheses. */
function stat(pid: number | "self"): string[] | undefined {
	try {
		const text = readFileSync(`/proc/${pid}/stat`, "utf8");
		return text.slice(text.lastIndexOf(")") + 2).split(" ");
	} catch {
		return undefined;
	}
}

/**
 * A name for this very process that no later one gets, though it may get the same pid: boot and start time.
 * Undefined when no such process lives; a zombie does not.
 */
export function processIdentity(pid: number): string | undefined {
	const fields = stat(pid);
	if (!fields || fields[0] === "Z" || fields[0] === "X") return undefined;
	const boot = readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
	return `${boot}/${fields[19]}`;
}

/** This process is in the foreground of a terminal: Ctrl-C there reaches its children as well. */
export function inForeground(): boolean {
	const fields = stat("self");
	return fields !== undefined && fields[2] === fields[5];
}

/** Living descendants of this process in its own process group: those that a terminal's Ctrl-C would reach. */
export function groupDescendants(): number[] {
	const own = stat("self");
	if (!own) return [];
	const children = new Map<number, number[]>();
	for (const entry of readdirSync("/proc")) {
		const fields = /^\d+$/.test(entry) ? stat(Number(entry)) : undefined;
		if (!fields || fields[2] !== own[2] || fields[0] === "Z") continue;
		const parent = Number(fields[1]);
		children.set(parent, [...(children.get(parent) ?? []), Number(entry)]);
	}
	const found: number[] = [];
	for (let next = [process.pid]; next.length > 0; ) {
		next = next.flatMap((pid) => children.get(pid) ?? []);
		found.push(...next);
	}
	return found;
}
