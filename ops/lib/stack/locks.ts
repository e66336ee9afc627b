/** Locks that Pulumi's runs hold on a stack, and what a run that was killed leaves behind of itself. */
import { existsSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { PROJECT } from "../../../infra/contract.ts";
import { processIdentity } from "../processes.ts";
import type { StackRef } from "./config-file.ts";
import { stateFolder } from "./state.ts";

export interface PulumiLock {
	path: string;
	pid: number;
	hostname: string;
	username: string;
	since: string;
}

/** Locks on this stack that Pulumi's runs hold, or left behind. */
export function pulumiLocks(ref: StackRef): PulumiLock[] {
	const folder = join(stateFolder(ref), ".pulumi", "locks", "organization", PROJECT, ref.stack);
	if (!existsSync(folder)) return [];
	return readdirSync(folder)
		.filter((file) => file.endsWith(".json"))
		.flatMap((file) => {
			const path = join(folder, file);
			try {
				const { pid, hostname, username, timestamp } = JSON.parse(readFileSync(path, "utf8"));
				return [{ path, pid: Number(pid), hostname, username, since: String(timestamp) }];
			} catch {
				// Released while we looked.
				return [];
			}
		});
}

/** Nobody holds it any more: made on this machine by a process that is gone, or whose number another has by now. */
export function isDead({ pid, hostname: host }: PulumiLock): boolean {
	if (host !== hostname()) return false;
	// A zombie has ended too. Where nobody reaps (a container without an init) a killed run stays one for good.
	if (processIdentity(pid) === undefined) return true;
	const name = `/proc/${pid}/comm`;
	return existsSync(name) && readFileSync(name, "utf8").trim() !== "pulumi";
}

/** Removes the lock, and ends the plugins of the run that held it: they do not notice that it is gone. */
export function removeLock(lock: PulumiLock): void {
	for (const pid of strayPlugins(lock.pid))
		try {
			process.kill(pid, "SIGTERM");
		} catch {
			// It ended by itself meanwhile.
		}
	rmSync(lock.path, { force: true });
	// The backend keeps what it knows of a file beside it.
	rmSync(`${lock.path}.attrs`, { force: true });
}

/**
 * Beside each file the backend keeps what it knows of it, and writes that in place: a run that is killed while it does
 * leaves half of it, and the backend reads nothing any more. Without any it reads the file as it is, which is whole.
 */
export function removeTornNotes(ref: StackRef): void {
	const folder = join(stateFolder(ref), ".pulumi", "stacks", PROJECT);
	if (!existsSync(folder)) return;
	for (const name of readdirSync(folder)) {
		if (!name.startsWith(`${ref.stack}.json`) || !name.endsWith(".attrs")) continue;
		const path = join(folder, name);
		try {
			JSON.parse(readFileSync(path, "utf8"));
		} catch {
			rmSync(path, { force: true });
		}
	}
}

/** Plugins in a session that one of our runs began: a session carries the pid of the process that began it. */
function strayPlugins(session: number): number[] {
	const processes = existsSync("/proc") ? readdirSync("/proc").filter((name) => /^\d+$/.test(name)) : [];
	return processes.map(Number).filter((pid) => {
		try {
			const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
			// "pid (comm) state ppid pgrp session ...", and comm may hold spaces and parentheses.
			const afterComm = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
			return stat.includes("(pulumi-resource") && Number(afterComm[3]) === session;
		} catch {
			// Ended while we looked.
			return false;
		}
	});
}
