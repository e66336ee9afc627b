/**
 * Connections to the inference API: one for each request, so that none fails because the other side has just
 * closed a kept one, and nothing that is left on one meets the next request.
 *
 * An API that refuses connections is most likely being replaced. Whoever asks waits for it for a while; one
 * scout tries, the others wait for the scout.
 */
import { lookup } from "node:dns/promises";
import { connect, type LookupFunction, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

/** Milliseconds. */
const LIMITS = {
	/** How long a request waits for an API that is away. */
	patience: 8_000,
	/** One try to connect. */
	attempt: 3_000,
	/** Between two tries of the scout. */
	pause: 200,
	/** An address is believed so long. A lookup takes one of the process's few threads, so there is one at a time. */
	address: 1_000,
} as const;

type Found = Awaited<ReturnType<typeof lookup>>[];

export class Api {
	/** `host:port`, as its own clients would say it. */
	readonly host: string;
	/** Its origin. */
	readonly url: string;
	readonly #hostname: string;
	readonly #port: number;
	readonly #patience: number;
	#found: Promise<Found> | undefined;
	#scout: Promise<void> | undefined;
	/** Until when somebody waits for the scout, in ms of `performance.now()`. */
	#awaited = 0;

	/** @param patience milliseconds */
	constructor(url: string, patience: number = LIMITS.patience) {
		const { host, hostname, port, origin } = new URL(url);
		this.host = host;
		this.url = origin;
		this.#hostname = hostname.replace(/^\[|\]$/g, "");
		this.#port = Number(port || 80);
		this.#patience = patience;
	}

	/** @throws the signal's reason, or why the last try failed once patience has run out */
	async connect(signal: AbortSignal): Promise<Socket> {
		const deadline = performance.now() + this.#patience;
		for (;;) {
			signal.throwIfAborted();
			try {
				return await this.#dial(signal);
			} catch (error) {
				signal.throwIfAborted();
				if (performance.now() >= deadline) throw error;
			}
			await this.#comeBack(deadline, signal);
		}
	}

	/** Whether it takes connections now. */
	async isThere(): Promise<boolean> {
		try {
			(await this.#dial()).destroy();
			return true;
		} catch {
			return false;
		}
	}

	/** Returns when the API takes connections again, or at the deadline. */
	async #comeBack(deadline: number, signal: AbortSignal): Promise<void> {
		this.#awaited = Math.max(this.#awaited, deadline);
		this.#scout ??= this.#look().finally(() => {
			this.#scout = undefined;
		});
		const late = sleep(Math.max(0, deadline - performance.now()), undefined, { signal, ref: false });
		await Promise.race([this.#scout, late.catch(() => {})]);
	}

	async #look(): Promise<void> {
		while (performance.now() < this.#awaited) {
			await sleep(LIMITS.pause, undefined, { ref: false });
			if (await this.isThere()) return;
		}
	}

	async #dial(signal?: AbortSignal): Promise<Socket> {
		const socket = connect({
			host: this.#hostname,
			port: this.#port,
			noDelay: true,
			keepAlive: true,
			keepAliveInitialDelay: 60_000,
			lookup: this.#lookup,
		});
		return await new Promise((resolve, reject) => {
			const late = () => socket.destroy(new Error(`no connection within ${LIMITS.attempt} ms`));
			const timer = setTimeout(late, LIMITS.attempt);
			const leave = () => socket.destroy(new Error("nobody waits for it any more"));
			signal?.addEventListener("abort", leave, { once: true });
			socket.once("close", () => {
				clearTimeout(timer);
				signal?.removeEventListener("abort", leave);
			});
			const failed = (error: Error) => {
				this.#found = undefined;
				reject(error);
			};
			socket.once("error", failed);
			socket.once("connect", () => {
				clearTimeout(timer);
				socket.off("error", failed);
				// Without a listener a failed socket ends the process, and whoever uses it listens later.
				socket.on("error", () => {});
				signal?.removeEventListener("abort", leave);
				resolve(socket);
			});
		});
	}

	readonly #lookup: LookupFunction = (hostname, options, told) => {
		this.#addresses(hostname).then(
			(found) => {
				const [first] = found;
				if (options.all === true) told(null, found);
				else if (first === undefined) told(new Error(`${hostname} has no address`), "", 0);
				else told(null, first.address, first.family);
			},
			(error: NodeJS.ErrnoException) => told(error, "", 0),
		);
	};

	async #addresses(hostname: string): Promise<Found> {
		if (this.#found === undefined) {
			const found = lookup(hostname, { all: true });
			this.#found = found;
			const forget = () => {
				if (this.#found === found) this.#found = undefined;
			};
			found.then(() => setTimeout(forget, LIMITS.address).unref(), forget);
		}
		return await this.#found;
	}
}
