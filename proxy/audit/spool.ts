/**
 * Where audit rows wait while Postgres is away: one file on the door's own volume, one JSON document a line.
 * It outlives the process, and is bounded.
 */
import { open, readFile, rm, stat } from "node:fs/promises";
import type { AuditRow } from "./event.ts";

export class Spool {
	readonly #file: string;
	readonly #mostBytes: number;
	#bytes = 0;

	constructor(file: string, mostBytes: number) {
		this.#file = file;
		this.#mostBytes = mostBytes;
	}

	get isEmpty(): boolean {
		return this.#bytes === 0;
	}

	/** How much of it is taken, 0 to 1. */
	get taken(): number {
		return this.#bytes / this.#mostBytes;
	}

	/** Finds what an earlier process left. @throws what `stat` throws, other than that there is no file. */
	async open(): Promise<void> {
		this.#bytes = await stat(this.#file).then(
			({ size }) => size,
			(error: NodeJS.ErrnoException) => {
				if (error.code === "ENOENT") return 0;
				throw error;
			},
		);
	}

	/**
	 * Takes as many of the rows as there is room for, in order; what it took is on the disk when this returns.
	 * @returns how many it took
	 * @throws the disk's error, with nothing taken
	 */
	async append(rows: readonly AuditRow[]): Promise<number> {
		const lines: Buffer[] = [];
		let bytes = this.#bytes;
		for (const row of rows) {
			const line = Buffer.from(`${JSON.stringify(row)}\n`);
			if (bytes + line.length > this.#mostBytes) break;
			lines.push(line);
			bytes += line.length;
		}
		if (lines.length === 0) return 0;
		const handle = await open(this.#file, "a", 0o600);
		try {
			await handle.writeFile(Buffer.concat(lines));
			await handle.datasync();
			this.#bytes = bytes;
			return lines.length;
		} catch (error) {
			// Half of it may be there: as if it were not.
			await handle.truncate(this.#bytes).catch(() => {});
			throw error;
		} finally {
			await handle.close();
		}
	}

	/** Everything in it. A line that a crash has cut, or the disk has spoilt, is counted and left out. */
	async read(): Promise<{ rows: AuditRow[]; spoilt: number }> {
		const lines = (await readFile(this.#file, "utf8")).split("\n").filter((line) => line !== "");
		const rows = lines.flatMap((line): AuditRow[] => {
			try {
				return [JSON.parse(line) as AuditRow];
			} catch {
				return [];
			}
		});
		return { rows, spoilt: lines.length - rows.length };
	}

	async clear(): Promise<void> {
		await rm(this.#file, { force: true });
		this.#bytes = 0;
	}
}
