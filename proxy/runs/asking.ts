/**
 * One question for many runs: MLflow is asked for each of them as its own page would ask, a few at a time, and every
 * answer is kept as the text that it is. Numbers and NaN would not survive being read and written again.
 */
import { isUtf8 } from "node:buffer";
import type { Dispatcher } from "undici";
import type { Allowed } from "../answerer.ts";
import type { DoorErrorCode } from "../errors.ts";
import { headersToUpstream } from "../forward/headers.ts";
import { refusalOf } from "../forward/transfer.ts";
import type { Transfers } from "../forward/transfers.ts";
import { Patience } from "../hold/patience.ts";
import type { HeldRequest } from "../hold/upstream.ts";
import { answerOf } from "../reads/answer.ts";
import type { Budget } from "../reads/budget.ts";
import type { Reader } from "../reads/reader.ts";
import { Shared } from "../reads/shared.ts";
import { OWN_HEADERS } from "../safety.ts";

/** Runs that MLflow is asked for at one time: about what a browser does by itself. */
export const AT_ONCE = 8;

const MLFLOW = "/ajax-api/2.0/mlflow/runs/get";

const HEADERS = [...OWN_HEADERS, "Content-Type", "application/json", "Vary", "Accept-Encoding"] as const;

const COMMA = Buffer.from(",");

const LEFT = new Error("nobody waits for these runs any more");

/** What MLflow says of one run. */
export interface RunAnswer {
	run_id: string;
	/** MLflow's own, errors included. */
	status: number;
	/** MLflow's `Content-Type`; null: it said none. */
	content_type: string | null;
	/** The bytes of MLflow's answer, which are UTF-8, as text. */
	body: string;
}

/** The body of the door's answer. Its parts are written one by one and never stand in memory as this. */
export interface RunsAnswer {
	/** In the order of the question. */
	runs: RunAnswer[];
	/** For whose answer there was no room, or which is no UTF-8: whoever wants them asks MLflow. */
	left_out: string[];
}

export interface AskingOptions {
	upstream: Dispatcher;
	transfers: Transfers;
	/** For all questions together. */
	budget: Budget;
	/** Bytes that this one may keep. */
	largest: number;
	quiet: number | undefined;
	ids: readonly string[];
}

export class Asking extends Shared {
	readonly #options: AskingOptions;
	readonly #leave = new AbortController();
	readonly #patiences: Patience[] = [];
	/** JSON of a `RunAnswer` each, by place in the question; undefined: left out, or not there yet. */
	#said: (Buffer | undefined)[] = [];
	#next = 0;
	#held = 0;
	/** Nobody waits any more. */
	#over = false;

	constructor(options: AskingOptions) {
		super(options.quiet);
		this.#options = options;
	}

	start({ allowed }: Reader): void {
		this.#askAll(allowed)
			.then(
				() => this.#answer(),
				(error: Error) => this.#fail(allowed, error, refusalOf(error)),
			)
			.catch((error: Error) => this.#fail(allowed, error, "INTERNAL"));
	}

	leave(reader: Reader): void {
		if (!this.readers.delete(reader) || this.readers.size > 0) return;
		this.#over = true;
		this.close();
		for (const patience of this.#patiences) patience.leave();
		this.#leave.abort(LEFT);
		this.#said = [];
		this.#options.budget.give(this.#held);
		this.#held = 0;
	}

	async #askAll(allowed: Allowed): Promise<void> {
		const workers = Math.min(AT_ONCE, this.#options.ids.length);
		await Promise.all(Array.from({ length: workers }, () => this.#askInTurn(allowed)));
	}

	/** One run after the other. Those who do it wait at the same time, so each has a patience of its own. */
	async #askInTurn(allowed: Allowed): Promise<void> {
		const patience = new Patience(allowed.patience.left);
		this.#patiences.push(patience);
		const { ids } = this.#options;
		while (!this.#over && this.#next < ids.length) {
			const place = this.#next++;
			const said = await this.#ask(allowed, ids[place] as string, patience);
			if (!this.#over) this.#said[place] = said;
		}
	}

	/** @returns undefined: to be left out */
	async #ask({ req }: Allowed, run_id: string, patience: Patience): Promise<Buffer | undefined> {
		const { upstream, transfers } = this.#options;
		const request: Dispatcher.RequestOptions & HeldRequest = {
			path: `${MLFLOW}?run_id=${run_id}`,
			method: "GET",
			headers: headersToUpstream(req.headers),
			signal: this.#leave.signal,
			held: { patience, repeat: "safe", started: () => this.shutOut(transfers) },
		};
		const { statusCode: status, headers, body: stream } = await upstream.request(request);
		const chunks: Buffer[] = [];
		let size = 0;
		try {
			for await (const chunk of stream as AsyncIterable<Buffer>) {
				if (!this.#hold(chunk.length)) return undefined;
				size += chunk.length;
				chunks.push(chunk);
			}
			const body = Buffer.concat(chunks);
			if (!isUtf8(body)) return undefined;
			const content_type = headers["content-type"]?.toString() ?? null;
			const answer: RunAnswer = { run_id, status, content_type, body: body.toString() };
			const said = Buffer.from(JSON.stringify(answer));
			return this.#hold(said.length) ? said : undefined;
		} finally {
			this.#give(size);
		}
	}

	/** @returns whether there is room for so many bytes; if so it is taken */
	#hold(bytes: number): boolean {
		const { budget, largest } = this.#options;
		if (this.#over || this.#held + bytes > largest || !budget.take(bytes)) return false;
		this.#held += bytes;
		return true;
	}

	#give(bytes: number): void {
		// Whoever has left has given everything back.
		if (this.#over) return;
		this.#held -= bytes;
		this.#options.budget.give(bytes);
	}

	#answer(): void {
		if (this.#over) return;
		this.close();
		const left = this.#options.ids.filter((_, place) => this.#said[place] === undefined);
		const runs = this.#said.filter((said) => said !== undefined);
		this.#said = [];
		const parts = runs.flatMap((run, i) => (i === 0 ? [run] : [COMMA, run]));
		const body = Buffer.concat([
			Buffer.from('{"runs":['),
			...parts,
			Buffer.from(`],"left_out":${JSON.stringify(left)}}\n`),
		]);
		const answer = answerOf(200, HEADERS, body);
		for (const reader of this.readers) reader.answer(answer);
	}

	#fail({ failed }: Allowed, error: Error, code: DoorErrorCode): void {
		if (this.#over) return;
		this.close();
		failed(error);
		for (const reader of this.readers) reader.end(code);
	}
}
