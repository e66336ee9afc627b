/**
 * One changing command at a time for a stack: `.mlgate/locks/<stack>.lock` says who, since when and what.
 * A lock whose process is gone is taken over; pids are used again, so the process's start time counts as well.
 */

import { randomUUID } from "node:crypto";
import {
	constants,
	copyFileSync,
	linkSync,
	mkdirSync,
	readFileSync,
	renameSync,
	rmSync,
	writeFileSync,
} from "node:fs";
import { hostname, userInfo } from "node:os";
import { join } from "node:path";
import { OpsError } from "./errors.ts";
import { processIdentity } from "./processes.ts";
import { age } from "./text.ts";

/** What the lock file says, as JSON. */
export interface LockHolder {
	/** `user@host` */
	who: string;
	host: string;
	pid: number;
	/** Boot and start time of the process. */
	process: string;
	/** ISO time. */
	since: string;
	/** The command, e.g. `up`. */
	doing: string;
	/** Tells this holding of the lock from every other. */
	id: string;
}

/** What file systems without hard links answer (folders shared with a virtual machine). */
const NO_LINKS = new Set<string | undefined>(["EPERM", "ENOTSUP", "EOPNOTSUPP", "ENOSYS"]);

export interface Lock {
	release(): void;
}

export interface LockOptions {
	folder: string;
	stack: string;
	doing: string;
	/** Told that a lock of a dead process was taken over. */
	note: (text: string) => void;
}

/** @throws OpsError LOCKED (exit 4) while another living process holds it. */
export function acquireLock({ folder, stack, doing, note }: LockOptions): Lock {
	mkdirSync(folder, { recursive: true, mode: 0o700 });
	const path = join(folder, `${stack}.lock`);
	const mine: LockHolder = {
		who: `${userInfo().username}@${hostname()}`,
		host: hostname(),
		pid: process.pid,
		process: processIdentity(process.pid) ?? "",
		since: new Date().toISOString(),
		doing,
		id: randomUUID(),
	};
	// Written aside and linked into place: whoever sees the lock sees all of it.
	const draft = `${path}.${mine.id}`;
	try {
		writeFileSync(draft, `${JSON.stringify(mine)}\n`, { mode: 0o600 });
		for (;;) {
			if (linked(draft, path)) break;
			const holder = read(path);
			if (holder === "gone") continue;
			if (holder !== "broken" && lives(holder)) throw locked(holder, stack);
			if (takeOver(draft, path)) {
				note(holder === "broken" ? "Took over a damaged lock." : tookOver(holder));
				break;
			}
		}
	} finally {
		rmSync(draft, { force: true });
	}
	return {
		release() {
			const holder = read(path);
			if (typeof holder === "object" && holder.id === mine.id) rmSync(path, { force: true });
		},
	};
}

/** Replaces a dead lock. Only one process at a time may judge and replace: the second file sees to that. */
function takeOver(draft: string, path: string): boolean {
	const gate = `${path}.takeover`;
	if (!linked(draft, gate)) {
		const keeper = read(gate);
		if (typeof keeper === "object" && lives(keeper)) return false;
		rmSync(gate, { force: true });
		return false;
	}
	try {
		const holder = read(path);
		if (holder === "gone" || (holder !== "broken" && lives(holder))) return false;
		renameSync(draft, path);
		return true;
	} finally {
		rmSync(gate, { force: true });
	}
}

/** Puts the file at `to` unless something is there. */
function linked(from: string, to: string): boolean {
	try {
		linkSync(from, to);
		return true;
	} catch (error) {
		const { code } = error as NodeJS.ErrnoException;
		if (code === "EEXIST") return false;
		if (!NO_LINKS.has(code)) throw error;
	}
	try {
		copyFileSync(from, to, constants.COPYFILE_EXCL);
		return true;
	} catch (error) {
		if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
		throw error;
	}
}

function read(path: string): LockHolder | "gone" | "broken" {
	try {
		const holder = JSON.parse(readFileSync(path, "utf8")) as LockHolder;
		return typeof holder?.pid === "number" ? holder : "broken";
	} catch (error) {
		return (error as NodeJS.ErrnoException).code === "ENOENT" ? "gone" : "broken";
	}
}

/** On another host (a shared disk) nobody can tell: it counts as alive. */
function lives(holder: LockHolder): boolean {
	return holder.host !== hostname() || processIdentity(holder.pid) === holder.process;
}

function tookOver(holder: LockHolder): string {
	return `Took over the lock that ${holder.who} left behind (${holder.doing}, process ${holder.pid} is gone).`;
}

function locked(holder: LockHolder, stack: string): OpsError {
	return new OpsError({
		code: "LOCKED",
		kind: "locked",
		what: `\`${holder.doing}\` is at work on the stack ${stack} already.`,
		why: `${holder.who} began it at ${holder.since} (${age(holder.since)} ago, process ${holder.pid} on ${holder.host}).`,
		fix: `Wait until it has ended, or end it with \`kill -INT ${holder.pid}\`, then try again.`,
	});
}
