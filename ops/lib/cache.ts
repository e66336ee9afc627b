/**
 * The user's cache of things that take long to make: `${XDG_CACHE_HOME:-~/.cache}/mlgate/<kind>/<key>`.
 * An entry is a folder that exists whole or not at all, and never changes: its key names everything it depends on.
 */
import { createHash, randomBytes } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from "node:fs";
import { homedir } from "node:os";
import { isAbsolute, join } from "node:path";
import { withFileLock } from "./file-lock.mjs";
import type { Report } from "./report.ts";

/** `XDG_CACHE_HOME` counts only if absolute (XDG Base Directory Specification). */
export function cacheRoot(): string {
	const xdg = process.env.XDG_CACHE_HOME;
	return join(xdg && isAbsolute(xdg) ? xdg : join(homedir(), ".cache"), "mlgate");
}

/** 16 hex digits that stand for `parts`, whatever they contain. */
export function keyOf(...parts: readonly unknown[]): string {
	return createHash("sha256").update(JSON.stringify(parts)).digest("hex").slice(0, 16);
}

/** What lies in the cache under this name, if it does. */
export function cachedEntry(kind: string, key: string): string | undefined {
	const entry = join(cacheRoot(), kind, key);
	return existsSync(entry) ? entry : undefined;
}

/**
 * The folder of an entry; `make` fills it if it does not exist. Of several processes that want it one makes it and the
 * others wait. If `make` fails, nothing is left.
 */
export async function cached(
	report: Report,
	kind: string,
	key: string,
	make: (folder: string) => Promise<void>,
): Promise<string> {
	const parent = join(cacheRoot(), kind);
	const entry = join(parent, key);
	if (existsSync(entry)) return entry;
	const onWait = ({ pid, what, since }: { pid: number; what: string; since: string }) =>
		report.note(`Waiting for process ${pid}, which is ${what} since ${since}.`);
	return withFileLock(
		join(parent, `.${key}.lock`),
		`making ${kind} ${key}`,
		async () => {
			if (existsSync(entry)) return entry;
			// The lock is ours: every half-made one was left by a process that died.
			const prefix = `.${key}.making-`;
			for (const name of readdirSync(parent)) if (name.startsWith(prefix)) remove(join(parent, name));
			const folder = join(parent, prefix + randomBytes(4).toString("hex"));
			mkdirSync(folder);
			try {
				await make(folder);
				renameSync(folder, entry);
			} catch (error) {
				remove(folder);
				throw error;
			}
			return entry;
		},
		{ onWait },
	);
}

function remove(path: string): void {
	rmSync(path, { recursive: true, force: true });
}
