/**
 * A lock between processes, as a file: whoever creates it holds it. Plain JavaScript for Node 18, because the
 * bootstrap needs it before anything is installed.
 *
 * A holder that died is noticed at once by whoever shares its process table, and by its missing heartbeat elsewhere
 * (another container or machine on the same folder).
 */
import { randomBytes } from "node:crypto";
import {
	constants,
	copyFileSync,
	linkSync,
	mkdirSync,
	readFileSync,
	readlinkSync,
	renameSync,
	rmSync,
	statSync,
	utimesSync,
	writeFileSync,
} from "node:fs";
import { hostname } from "node:os";
import { dirname } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

const POLL_MS = 200;
const HEARTBEAT_MS = 10_000;
const SILENT_MS = 60_000;

/**
 * @typedef {object} Holder
 * @property {number} pid
 * @property {string} start When that process started, in the kernel's own ticks: pids are used again.
 * @property {string} processes The process table in which the pid means something.
 * @property {string} since ISO time.
 * @property {string} what What it is doing, for the person who waits.
 */

/**
 * Runs `work` while holding the lock; waits for as long as somebody alive holds it.
 * @template T
 * @param {string} path The lock's file; its folder is made.
 * @param {string} what What the holder is doing, told to those who wait.
 * @param {() => Promise<T> | T} work
 * @param {{ onWait?: (holder: Holder) => void }} [options] `onWait` is called once, if there is anything to wait for.
 * @returns {Promise<T>}
 */
export async function withFileLock(path, what, work, { onWait } = {}) {
	mkdirSync(dirname(path), { recursive: true });
	/** @type {Holder} */
	const me = {
		pid: process.pid,
		start: startOf(process.pid),
		processes: processTable(),
		since: new Date().toISOString(),
		what,
	};
	for (let waited = false; !create(path, me); ) {
		const holder = read(path);
		if (holder && !isAlive(holder, path)) {
			takeAway(path, holder);
			continue;
		}
		if (holder && !waited) {
			waited = true;
			onWait?.(holder);
		}
		await sleep(POLL_MS);
	}
	const heartbeat = setInterval(() => touch(path), HEARTBEAT_MS);
	heartbeat.unref();
	// Ctrl-C ends in process.exit: the lock goes with it, so that nobody has to find out.
	const release = () => rmSync(path, { force: true });
	process.once("exit", release);
	try {
		return await work();
	} finally {
		clearInterval(heartbeat);
		process.off("exit", release);
		release();
	}
}

function create(path, holder) {
	const mine = `${path}.${holder.pid}.${randomBytes(4).toString("hex")}`;
	writeFileSync(mine, JSON.stringify(holder));
	try {
		return place(mine, path);
	} finally {
		rmSync(mine, { force: true });
	}
}

/** What file systems without hard links answer (folders shared with a virtual machine). */
const NO_LINKS = new Set(["EPERM", "ENOTSUP", "EOPNOTSUPP", "ENOSYS"]);

/** Puts a whole file into place if nothing is there: linked, the lock is never seen empty. */
function place(from, path) {
	try {
		try {
			linkSync(from, path);
		} catch (error) {
			if (!NO_LINKS.has(error.code)) throw error;
			copyFileSync(from, path, constants.COPYFILE_EXCL);
		}
		return true;
	} catch (error) {
		if (error.code === "EEXIST") return false;
		throw error;
	}
}

/** @returns {Holder | undefined} */
function read(path) {
	try {
		return JSON.parse(readFileSync(path, "utf8"));
	} catch (error) {
		if (error.code === "ENOENT") return undefined;
		// Half written, where files cannot be linked: its time stamp tells whether anybody is still at it.
		if (error instanceof SyntaxError)
			return { pid: 0, start: "", processes: "", since: "a moment ago", what: "starting" };
		throw error;
	}
}

function isAlive(holder, path) {
	if (holder.processes === processTable()) {
		try {
			process.kill(holder.pid, 0);
		} catch (error) {
			if (error.code === "ESRCH") return false;
		}
		return startOf(holder.pid) === holder.start;
	}
	try {
		return Date.now() - statSync(path).mtimeMs < SILENT_MS;
	} catch {
		return false;
	}
}

/** Of several who find the same dead holder one may already hold the lock anew: theirs is put back. */
function takeAway(path, dead) {
	const aside = `${path}.stale.${process.pid}.${randomBytes(4).toString("hex")}`;
	try {
		renameSync(path, aside);
	} catch (error) {
		if (error.code === "ENOENT") return;
		throw error;
	}
	const taken = read(aside);
	if (taken && JSON.stringify(taken) !== JSON.stringify(dead)) place(aside, path);
	rmSync(aside, { force: true });
}

function touch(path) {
	try {
		const now = new Date();
		utimesSync(path, now, now);
	} catch {
		// The folder was removed under us; the work itself will say so if it matters.
	}
}

/** Field 22 of /proc/<pid>/stat; empty where there is no /proc, or no such process. */
function startOf(pid) {
	try {
		const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
		return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19] ?? "";
	} catch {
		return "";
	}
}

function processTable() {
	try {
		const boot = readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
		return `${boot} ${readlinkSync("/proc/self/ns/pid")}`;
	} catch {
		return hostname();
	}
}
