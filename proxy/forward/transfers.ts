/**
 * All requests that are on their way through. Every few seconds each is asked whether its credential still
 * stands and whether its client still moves, so that neither needs a timer of its own.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Dispatcher } from "undici";
import type { Authority, Identity } from "../authority.ts";
import { onceClosed } from "../closed.ts";
import type { DoorErrorCode } from "../errors.ts";
import { type Order, type Told, Transfer } from "./transfer.ts";

/** Milliseconds. */
const SWEEP = 2_000;
/** How long a client may neither send what it announced nor read what it asked for. */
const CLIENT_IDLE = 120_000;

export interface TransferOptions {
	upstream: Dispatcher;
	stillValid: Authority["stillValid"];
	/** Milliseconds; the defaults are `SWEEP` and `CLIENT_IDLE`. */
	sweep?: number;
	clientIdle?: number;
}

/** A request that may take long, whoever answers it. */
export interface Watched {
	readonly identity: Identity;
	/** Since when it waits for the client to send or to read, in ms of `performance.now()`. */
	readonly waitingSince: number | undefined;
	/** Ends it from our side. */
	end(code: DoorErrorCode): void;
}

export class Transfers {
	readonly #running = new Set<Watched>();
	readonly #upstream: Dispatcher;
	readonly #stillValid: Authority["stillValid"];
	readonly #clientIdle: number;
	readonly #timer: NodeJS.Timeout;

	constructor({ upstream, stillValid, sweep = SWEEP, clientIdle = CLIENT_IDLE }: TransferOptions) {
		this.#upstream = upstream;
		this.#stillValid = stillValid;
		this.#clientIdle = clientIdle;
		this.#timer = setInterval(() => this.#sweep(), sweep).unref();
	}

	get size(): number {
		return this.#running.size;
	}

	/**
	 * Sends a request on and its answer back.
	 * @param res must have its socket, and not have closed yet
	 */
	forward(req: IncomingMessage, res: ServerResponse, order: Order, told: Told): void {
		const stands = () => this.stands(order.identity);
		const transfer = new Transfer(req, res, order, this.#upstream, told, stands);
		this.watch(res, transfer);
		onceClosed(res, () => transfer.closed());
		transfer.start();
	}

	/**
	 * Keeps an eye on a request that somebody else answers, until its response has closed.
	 * @returns ends the watch before that
	 */
	watch(res: ServerResponse, watched: Watched): () => void {
		const unwatch = () => void this.#running.delete(watched);
		this.#running.add(watched);
		onceClosed(res, unwatch);
		return unwatch;
	}

	#sweep(): void {
		const now = performance.now();
		for (const transfer of this.#running) {
			const { waitingSince } = transfer;
			if (!this.stands(transfer.identity)) transfer.end("CREDENTIAL_ENDED");
			else if (waitingSince !== undefined && now - waitingSince > this.#clientIdle) {
				transfer.end("CLIENT_IDLE");
			}
		}
	}

	/** Whether a credential is still valid. An authority that cannot say is an authority that says no. */
	stands(identity: Identity): boolean {
		try {
			return this.#stillValid(identity);
		} catch {
			return false;
		}
	}

	/** Stops the sweeps. What is running goes on until its connection ends. */
	close(): void {
		clearInterval(this.#timer);
	}
}
