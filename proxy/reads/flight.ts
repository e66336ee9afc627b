/**
 * One computation of MLflow's, and the readers who wait for its answer. The answer is taken in whole, so that no
 * reader waits for another one's line; one that is too large for that goes to a single reader as it comes.
 */
import type { ServerResponse } from "node:http";
import type { Writable } from "node:stream";
import type { Dispatcher } from "undici";
import { type Coding, codingFor, compressor } from "../encoding.ts";
import { headersFromUpstream, headersToUpstream } from "../forward/headers.ts";
import { orderOf } from "../forward/index.ts";
import { refusalOf } from "../forward/transfer.ts";
import type { Transfers } from "../forward/transfers.ts";
import { Patience } from "../hold/patience.ts";
import type { HeldRequest } from "../hold/upstream.ts";
import type { Safety } from "../safety.ts";
import { answerOf } from "./answer.ts";
import type { Budget } from "./budget.ts";
import type { Reader } from "./reader.ts";
import { Shared } from "./shared.ts";

/** The largest answer that is kept whole, in bytes. The first page of 100 runs is 0.8 MB. */
const LARGEST = 4 * 1024 * 1024;

const LEFT = new Error("nobody waits for this answer any more");

export interface FlightOptions {
	dispatch: Dispatcher["dispatch"];
	transfers: Transfers;
	budget: Budget;
	/** The stretch without writes in which it began; undefined: nobody may join. */
	quiet: number | undefined;
	body: Buffer | null;
	safety: Safety;
}

export class Flight extends Shared implements Dispatcher.DispatchHandler {
	readonly #options: FlightOptions;
	#patience: Patience | undefined;
	#failed: (error: Error) => void = () => {};
	#controller: Dispatcher.DispatchController | undefined;
	#over = false;
	#status = 0;
	#headers: string[] = [];
	#chunks: Buffer[] = [];
	#size = 0;
	/** What is given back once nobody reads it any more. */
	#held = 0;
	/** The one reader of an answer that is too large to be kept, and where its bytes go. */
	#single: { reader: Reader; into: Writable } | undefined;

	constructor(options: FlightOptions) {
		super(options.quiet);
		this.#options = options;
	}

	start({ allowed: { req, target, patience, failed } }: Reader): void {
		this.#failed = failed;
		this.#patience = new Patience(patience.left);
		const request: Dispatcher.DispatchOptions & HeldRequest = {
			path: target.forward,
			method: req.method as Dispatcher.HttpMethod,
			headers: headersToUpstream(req.headers),
			body: this.#options.body,
			held: { patience: this.#patience, repeat: "safe" },
		};
		this.#options.dispatch(request, this);
	}

	leave(reader: Reader): void {
		if (!this.readers.delete(reader) || this.readers.size > 0) return;
		if (!this.#over) {
			this.#end();
			this.#patience?.leave();
			this.#controller?.abort(LEFT);
		}
		this.#single?.into.destroy();
		this.#release();
	}

	#end(): void {
		this.#over = true;
		this.close();
	}

	#release(): void {
		this.#options.budget.give(this.#held);
		this.#held = 0;
	}

	onRequestStart(controller: Dispatcher.DispatchController): void {
		if (this.#over) {
			controller.abort(LEFT);
			return;
		}
		this.#controller = controller;
		this.shutOut(this.#options.transfers);
	}

	onResponseStart(controller: Dispatcher.DispatchController, status: number): void {
		if (status < 200 || this.#over) return;
		this.#status = status;
		this.#headers = headersFromUpstream(controller.rawHeaders as Buffer[], status, this.#options.safety);
	}

	onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
		if (this.#over) return;
		if (this.#single === undefined) {
			this.#size += chunk.length;
			if (this.#size <= LARGEST && this.#options.budget.take(chunk.length)) {
				this.#held += chunk.length;
				this.#chunks.push(chunk);
				return;
			}
			this.#single = this.#leaveToOne();
			for (const kept of this.#chunks.splice(0)) this.#single.into.write(kept);
		}
		const { reader, into } = this.#single;
		if (into.write(chunk)) return;
		controller.pause();
		reader.waitingSince = performance.now();
		into.once("drain", () => {
			reader.waitingSince = undefined;
			controller.resume();
		});
	}

	/** The first reader gets it as it comes, the others ask for themselves. */
	#leaveToOne(): { reader: Reader; into: Writable } {
		this.close();
		const [reader, ...others] = [...this.readers] as [Reader, ...Reader[]];
		for (const other of others) {
			this.readers.delete(other);
			const allowed = other.release();
			// Its body was judged when it came.
			const order = { ...orderOf(allowed), judge: undefined, body: this.#options.body };
			this.#options.transfers.forward(allowed.req, allowed.res, order, allowed);
		}
		const { req, res } = reader.allowed;
		const coding = codingFor(req.headers["accept-encoding"]);
		const headers = plain(this.#headers, coding === undefined);
		if (coding === undefined) {
			res.writeHead(this.#status, headers);
			return { reader, into: res };
		}
		res.writeHead(this.#status, [...headers, "Content-Encoding", coding, "Vary", "Accept-Encoding"]);
		return { reader, into: into(res, coding) };
	}

	onResponseEnd(): void {
		if (this.#over) return;
		this.#end();
		if (this.#single !== undefined) {
			this.#single.into.end();
			return;
		}
		const headers = [...plain(this.#headers, false), "Vary", "Accept-Encoding"];
		const [first] = this.#chunks;
		const body = this.#chunks.length === 1 && first !== undefined ? first : Buffer.concat(this.#chunks);
		const answer = answerOf(this.#status, headers, body);
		for (const reader of this.readers) reader.answer(answer);
	}

	onResponseError(_: unknown, error: Error): void {
		if (this.#over) return;
		this.#end();
		this.#failed(error);
		for (const reader of this.readers) reader.end(refusalOf(error));
	}
}

/** @param length whether the length that MLflow said still holds */
function plain(headers: readonly string[], length: boolean): string[] {
	const kept: string[] = [];
	for (let i = 0; i + 1 < headers.length; i += 2) {
		const name = (headers[i] as string).toLowerCase();
		if (name === "vary" || (name === "content-length" && !length)) continue;
		kept.push(headers[i] as string, headers[i + 1] as string);
	}
	return kept;
}

function into(res: ServerResponse, coding: Coding): Writable {
	const encoder = compressor(coding);
	encoder.on("error", () => res.destroy());
	encoder.pipe(res);
	return encoder;
}
