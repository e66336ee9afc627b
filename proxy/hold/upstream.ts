/**
 * The connections to MLflow, for all who ask it: a request that cannot be sent waits until MLflow is there, and one
 * whose answer is lost, or says that the database is away, is sent again where that is safe. To whoever asked, both
 * are only a long wait for a connection.
 */
import { setTimeout as sleep } from "node:timers/promises";
import type { Dispatcher, Pool } from "undici";
import type { Holds, Waited } from "./holds.ts";
import type { HeldPart } from "./parts.ts";
import { Patience } from "./patience.ts";
import { isFull, isTrouble, LONGEST_TROUBLE, mayBeTrouble } from "./trouble.ts";

/** How a request may be held and repeated. Without it, a GET or HEAD is safe to repeat and nothing else is. */
export interface Held {
	patience: Patience;
	/** As in `repeats.ts`; everything else is sent once. */
	repeat: "safe" | "gone" | "once";
	/** Told when it begins to be sent: from then on MLflow may have done it. */
	started?(): void;
}

/** Dispatch options with what belongs to holds. */
export type HeldRequest = { held?: Held | undefined };

/** The request was not sent, or its answer never came; `code` says what the client is told. */
export class HoldError extends Error {
	override readonly name = "HoldError";
	readonly code: "HOLD_FULL" | "HOLD_LATE" | "HOLD_GONE" | "DATABASE_FULL";

	constructor(outcome: Exclude<Waited, "there">, cause?: unknown) {
		super("waiting for a part of the stack was in vain", { cause });
		this.code = outcome === "full" ? "HOLD_FULL" : outcome === "late" ? lateOf(cause) : "HOLD_GONE";
	}
}

/** MLflow's answer was that its database is away: whether it did what it was asked to is not known. */
export class DatabaseTrouble extends Error {
	override readonly name = "DatabaseTrouble";
	readonly code: "DATABASE_TROUBLE" | "DATABASE_FULL";

	/** @param body of the answer */
	constructor(body: string) {
		super(body.slice(0, 500));
		this.code = isFull(body) ? "DATABASE_FULL" : "DATABASE_TROUBLE";
	}
}

/** A full disk is worth saying: waiting alone does not mend it. */
const lateOf = (cause: unknown): "HOLD_LATE" | "DATABASE_FULL" =>
	cause instanceof DatabaseTrouble && cause.code === "DATABASE_FULL" ? cause.code : "HOLD_LATE";

const codeOf = (error: unknown): string =>
	error instanceof Error && "code" in error ? String(error.code) : "";

/** There is nobody to connect to. Whether anything was sent is known otherwise. */
const UNREACHABLE: ReadonlySet<string> = new Set([
	"ECONNREFUSED",
	"ECONNRESET",
	"EHOSTUNREACH",
	"ENETUNREACH",
	"EHOSTDOWN",
	"ETIMEDOUT",
	"ENOTFOUND",
	"EAI_AGAIN",
	"EAI_FAIL",
	"UND_ERR_CONNECT_TIMEOUT",
	"UND_ERR_SOCKET",
]);

/** The connection broke before anything came back. */
const LOST: ReadonlySet<string> = new Set(["UND_ERR_SOCKET", "ECONNRESET", "EPIPE", "ECONNABORTED"]);

/** A request that is lost as often may be what MLflow dies of. */
const MOST_LOST = 3;

/** Milliseconds before a request is sent again; doubled each time. */
const PAUSE = { first: 20, longest: 1_000 } as const;

/** @returns the same pool, whose requests wait */
export function holdUpstream(pool: Pool, holds: Holds): Pool {
	const dispatch = pool.dispatch.bind(pool);
	const held = (options: Dispatcher.DispatchOptions & HeldRequest, handler: Dispatcher.DispatchHandler) => {
		new Attempts(dispatch, options, handler, holds).send();
		return true;
	};
	// As the pool's own `compose`, which would copy the options of each request to name the origin in them.
	return new Proxy(pool, {
		get: (target, key) => (key === "dispatch" ? held : Reflect.get(target, key)),
	});
}

/** An answer that is looked at before it is passed on. */
interface Kept {
	status: number;
	headers: Record<string, string | string[] | undefined>;
	text: string | undefined;
	body: Buffer[];
}

class Attempts implements Dispatcher.DispatchHandler {
	readonly #dispatch: Dispatcher.Dispatch;
	readonly #options: Dispatcher.DispatchOptions;
	readonly #handler: Dispatcher.DispatchHandler;
	readonly #holds: Holds;
	readonly #held: Held;
	#controller: Dispatcher.DispatchController | undefined;
	/** Sent to MLflow, as far as anybody knows. */
	#sent = false;
	/** Sent before this time. */
	#again = false;
	#lost = 0;
	#pause: number = PAUSE.first;
	#kept: Kept | undefined;
	#size = 0;
	#passing = false;

	constructor(
		dispatch: Dispatcher.Dispatch,
		options: Dispatcher.DispatchOptions & HeldRequest,
		handler: Dispatcher.DispatchHandler,
		holds: Holds,
	) {
		const { held } = options;
		const reads = options.method === "GET" || options.method === "HEAD";
		this.#dispatch = dispatch;
		this.#options = options;
		this.#handler = handler;
		this.#holds = holds;
		this.#held = held ?? { patience: new Patience(holds.limit), repeat: reads ? "safe" : "once" };
		const signal = (options as { signal?: unknown }).signal;
		if (held === undefined && signal instanceof AbortSignal) {
			signal.addEventListener("abort", () => this.#held.patience.leave(), { once: true });
		}
	}

	send(): void {
		this.#sent = false;
		this.#controller = undefined;
		this.#kept = undefined;
		this.#size = 0;
		this.#dispatch(this.#options, this);
	}

	/** A body that is a stream has been read by then. */
	get #mayRepeat(): boolean {
		const { body } = this.#options;
		return this.#held.repeat !== "once" && (body == null || Buffer.isBuffer(body));
	}

	async #sendWhenThere(part: HeldPart, cause: unknown): Promise<void> {
		this.#holds.away(part, cause);
		const { body } = this.#options;
		const kept = Buffer.isBuffer(body) ? body.length : 0;
		const outcome = await this.#holds.wait([part], this.#held.patience, kept);
		if (outcome === "there") this.send();
		else this.#fail(new HoldError(outcome, cause));
	}

	/** A part that looks well and answers badly is not asked as fast as we can. */
	async #sendLater(then: () => void, cause: unknown): Promise<void> {
		const { patience } = this.#held;
		const pause = this.#pause;
		this.#pause = Math.min(pause * 2, PAUSE.longest);
		patience.left -= pause;
		if (patience.left <= 0) return this.#fail(new HoldError("late", cause));
		try {
			await sleep(pause, undefined, { signal: patience.signal });
		} catch {
			return this.#fail(new HoldError("gone", cause));
		}
		then();
	}

	#fail(error: Error): void {
		// Typed as if there always were one: without a connection there is none.
		this.#handler.onResponseError?.(this.#controller as Dispatcher.DispatchController, error);
	}

	onRequestStart(controller: Dispatcher.DispatchController, context: object): void {
		this.#sent = true;
		this.#controller = controller;
		this.#held.started?.();
		this.#handler.onRequestStart?.(controller, context);
	}

	onResponseStart(
		controller: Dispatcher.DispatchController,
		status: number,
		headers: Record<string, string | string[] | undefined>,
		text?: string,
	): void {
		if (status < 200) return;
		const gone = status === 404 && this.#again && this.#held.repeat === "gone";
		if (gone || mayBeTrouble(status)) {
			this.#kept = { status, headers, text, body: [] };
			return;
		}
		this.#passing = true;
		this.#handler.onResponseStart?.(controller, status, headers, text);
	}

	onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
		if (this.#kept === undefined) {
			this.#handler.onResponseData?.(controller, chunk);
			return;
		}
		this.#kept.body.push(chunk);
		this.#size += chunk.length;
		if (this.#size > LONGEST_TROUBLE) this.#passOn(controller, this.#kept);
	}

	onResponseEnd(
		controller: Dispatcher.DispatchController,
		trailers: Record<string, string | string[]>,
	): void {
		const kept = this.#kept;
		if (kept !== undefined) {
			const body = Buffer.concat(kept.body).toString("utf8");
			if (kept.status === 404) {
				const nothing = Buffer.from("{}");
				controller.rawHeaders = [
					...["content-type", "application/json"],
					...["content-length", String(nothing.length)],
				].map((text) => Buffer.from(text));
				this.#passOn(controller, { ...kept, status: 200, body: [nothing] });
			} else if (isTrouble(kept.status, body)) {
				this.#troubled(new DatabaseTrouble(body));
				return;
			} else this.#passOn(controller, kept);
		}
		this.#handler.onResponseEnd?.(controller, trailers);
	}

	#troubled(error: DatabaseTrouble): void {
		this.#kept = undefined;
		if (!this.#mayRepeat) {
			this.#holds.away("postgres", error.message);
			this.#fail(error);
			return;
		}
		this.#again = true;
		void this.#sendLater(() => void this.#sendWhenThere("postgres", error), error);
	}

	#passOn(controller: Dispatcher.DispatchController, { status, headers, text, body }: Kept): void {
		this.#kept = undefined;
		this.#passing = true;
		this.#handler.onResponseStart?.(controller, status, headers, text);
		for (const chunk of body) this.#handler.onResponseData?.(controller, chunk);
	}

	onResponseError(controller: Dispatcher.DispatchController, error: Error): void {
		const { patience } = this.#held;
		const code = codeOf(error);
		if (this.#passing || patience.gone) {
			this.#handler.onResponseError?.(controller, error);
		} else if (!this.#sent && UNREACHABLE.has(code)) {
			void this.#sendWhenThere("mlflow", error);
		} else if (this.#sent && LOST.has(code) && this.#mayRepeat && this.#lost < MOST_LOST) {
			this.#lost++;
			this.#again = true;
			void this.#sendLater(() => this.send(), error);
		} else {
			this.#handler.onResponseError?.(controller, error);
		}
	}
}
