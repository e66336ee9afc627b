/**
 * Multipart uploads that are under way, and the end of those that nobody will finish.
 *
 * MinIO lists uploads from memory: after a restart of it their parts lie on the disk and no list names them. So
 * each upload is written to a journal of the door, and what an earlier life of the door left there is aborted.
 */
import { appendFileSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import type { Log } from "../log.ts";
import { patiently } from "./patience.ts";
import type { Store } from "./store.ts";

/** Milliseconds. */
const SWEEP = 15_000;
/** A client that puts parts itself and shows no sign of life for so long is gone. */
const IDLE = 4 * 60_000;
/** An upload that is not ours (MLflow makes some) and has not grown for so long has been left behind. */
const FOREIGN_IDLE = 5 * 60_000;
/** Lines of the journal beyond those that count. */
const SLACK = 1000;

export interface Upload {
	readonly key: string;
	readonly id: string;
	/** Requests that work on it. */
	busy: number;
	/** In milliseconds of `Date.now()`. */
	lastUsed: number;
	/** Nobody will finish it. */
	orphan: boolean;
}

/** A line of the journal: an upload has begun, or is over. */
type Line = { begun: string; key: string; parts: boolean } | { over: string };

export interface Pace {
	sweep?: number;
	idle?: number;
	foreignIdle?: number;
}

export class Unfinished {
	readonly #store: Store;
	readonly #file: string;
	readonly #log: Log;
	readonly #uploads = new Map<string, Upload & { parts: boolean }>();
	readonly #closed = new AbortController();
	readonly #timer: NodeJS.Timeout;
	readonly #idle: number;
	readonly #foreignIdle: number;
	#lines = 0;
	#sweeping: Promise<void> | undefined;

	/**
	 * @param file the journal; its folder must outlive the door's process
	 * @param pace milliseconds, for tests
	 */
	constructor(store: Store, file: string, log: Log, pace: Pace = {}) {
		this.#store = store;
		this.#file = file;
		this.#log = log;
		this.#idle = pace.idle ?? IDLE;
		this.#foreignIdle = pace.foreignIdle ?? FOREIGN_IDLE;
		this.#read();
		this.#rewrite();
		this.#timer = setInterval(() => void this.sweep(), pace.sweep ?? SWEEP).unref();
		void this.sweep();
	}

	get size(): number {
		return this.#uploads.size;
	}

	/**
	 * Begins an upload in the store; the caller is at work on it until `rest`, `over` or `abandon`.
	 * @param parts the client puts the parts itself, in requests of their own
	 */
	async begin(key: string, parts: boolean, hold: number, signal: AbortSignal): Promise<Upload> {
		const id = await patiently(signal, hold, () => this.#store.createUpload(key, signal));
		const upload = { key, id, parts, busy: 1, lastUsed: Date.now(), orphan: false };
		this.#uploads.set(id, upload);
		this.#write({ begun: id, key, parts });
		return upload;
	}

	/** Marks work on an upload whose parts the client puts. Unknown ones may be real: the store will tell. */
	use(key: string, id: string): Upload {
		let upload = this.#uploads.get(id);
		if (upload === undefined || upload.key !== key) {
			upload = { key, id, parts: true, busy: 0, lastUsed: 0, orphan: false };
			if (!this.#uploads.has(id)) this.#uploads.set(id, upload);
		}
		upload.busy++;
		return upload;
	}

	rest(upload: Upload): void {
		upload.busy--;
		upload.lastUsed = Date.now();
	}

	/** It was completed or aborted. */
	over({ id }: Upload): void {
		if (this.#uploads.delete(id)) this.#write({ over: id });
	}

	/** Nobody will finish it: it is aborted now, or as soon as the store answers. */
	abandon(upload: Upload): void {
		upload.orphan = true;
		void this.#abort(upload);
	}

	async #abort(upload: Upload): Promise<void> {
		try {
			await this.#store.abortUpload(upload.key, upload.id, this.#closed.signal);
			this.over(upload);
		} catch (error) {
			this.#log.debug({ err: error }, "an unfinished upload could not be aborted yet");
		}
	}

	/** Aborts what nobody will finish. One at a time. */
	async sweep(): Promise<void> {
		this.#sweeping ??= this.#sweepOnce().finally(() => {
			this.#sweeping = undefined;
		});
		await this.#sweeping;
	}

	async #sweepOnce(): Promise<void> {
		const now = Date.now();
		for (const upload of this.#uploads.values()) {
			if (upload.orphan || (upload.busy === 0 && now - upload.lastUsed >= this.#idle))
				await this.#abort(upload);
		}
		const { signal } = this.#closed;
		try {
			for (const { key, id, started } of await this.#store.listUploads(signal)) {
				if (this.#uploads.has(id) || now - started.getTime() < this.#foreignIdle) continue;
				const last = (await this.#store.lastPartAt(key, id, signal)) ?? started;
				if (now - last.getTime() < this.#foreignIdle) continue;
				await this.#store.abortUpload(key, id, signal);
				this.#log.info({ started }, "an upload that somebody left behind was aborted");
			}
		} catch (error) {
			this.#log.debug({ err: error }, "the store's unfinished uploads could not be looked through");
		}
	}

	#read(): void {
		let text: string;
		try {
			text = readFileSync(this.#file, "utf8");
		} catch {
			return;
		}
		for (const row of text.split("\n")) {
			let line: Line;
			try {
				line = JSON.parse(row) as Line;
			} catch {
				// The last line of a door that was killed while it wrote.
				continue;
			}
			if ("over" in line) this.#uploads.delete(line.over);
			else {
				// A request of an earlier life is over; a client that puts its own parts may go on.
				const { begun: id, key, parts } = line;
				this.#uploads.set(id, { key, id, parts, busy: 0, lastUsed: Date.now(), orphan: !parts });
			}
		}
	}

	#write(line: Line): void {
		try {
			appendFileSync(this.#file, `${JSON.stringify(line)}\n`, { mode: 0o600 });
			if (++this.#lines > this.#uploads.size + SLACK) this.#rewrite();
		} catch (error) {
			this.#log.error({ err: error }, "the journal of uploads cannot be written");
		}
	}

	#rewrite(): void {
		const lines = [...this.#uploads.values()].map(({ id, key, parts }) =>
			JSON.stringify({ begun: id, key, parts } satisfies Line),
		);
		try {
			writeFileSync(`${this.#file}.new`, lines.map((line) => `${line}\n`).join(""), { mode: 0o600 });
			renameSync(`${this.#file}.new`, this.#file);
			this.#lines = lines.length;
		} catch (error) {
			this.#log.error({ err: error }, "the journal of uploads cannot be written");
		}
	}

	async close(): Promise<void> {
		clearInterval(this.#timer);
		this.#closed.abort();
		await this.#sweeping;
	}
}
