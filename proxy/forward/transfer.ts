/**
 * One request on its way through to MLflow and its answer on the way back, streamed both ways with
 * back-pressure. Whoever leaves takes the other side along: a client that is gone holds no upstream
 * connection, an upstream that is gone leaves no client waiting.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Dispatcher } from "undici";
import { refuse } from "../answer.ts";
import type { Identity } from "../authority.ts";
import type { DoorErrorCode } from "../errors.ts";
import { hasBody } from "../gate/framing.ts";
import { SMALL, UploadBody } from "./body.ts";
import { headersFromUpstream, headersToUpstream } from "./headers.ts";

/** What a transfer tells about itself. */
export interface Told {
	/** The answer came from the door, not from MLflow. */
	refused(code: DoorErrorCode): void;
	/** Something went wrong behind the door. */
	failed(error: Error): void;
}

const GONE = new Error("the client has left");
const REVOKED = new Error("the credential has ended");

/** The connection broke before anything came back. */
const LOST = new Set(["UND_ERR_SOCKET", "ECONNRESET", "EPIPE"]);
const SLOW = new Set(["UND_ERR_HEADERS_TIMEOUT", "UND_ERR_BODY_TIMEOUT", "UND_ERR_CONNECT_TIMEOUT"]);

const codeOf = (error: Error): string => ("code" in error ? String(error.code) : "");

export class Transfer implements Dispatcher.DispatchHandler {
	readonly identity: Identity;
	readonly #req: IncomingMessage;
	readonly #res: ServerResponse;
	readonly #path: string;
	readonly #upstream: Dispatcher;
	readonly #told: Told;
	#controller: Dispatcher.DispatchController | undefined;
	#body: UploadBody | undefined;
	/** Nothing more goes to the client, and nothing more is wanted from upstream. */
	#over = false;
	/** Upstream's answer has begun to go out. */
	#begun = false;
	#tries = 0;
	#waitingSince: number | undefined;

	/**
	 * @param path the canonical path and query
	 * @param told what it reports to; may be called until the response has closed
	 */
	constructor(
		req: IncomingMessage,
		res: ServerResponse,
		path: string,
		identity: Identity,
		upstream: Dispatcher,
		told: Told,
	) {
		this.#req = req;
		this.#res = res;
		this.#path = path;
		this.identity = identity;
		this.#upstream = upstream;
		this.#told = told;
	}

	/** Since when it waits for the client to send or to read, in ms of `performance.now()`. */
	get waitingSince(): number | undefined {
		return this.#waitingSince ?? this.#body?.waitingSince;
	}

	start(): void {
		const { headers } = this.#req;
		if (!hasBody(this.#req)) return this.#dispatch(null);
		if (headers.expect !== undefined) this.#res.writeContinue();
		const length = headers["content-length"];
		if (length !== undefined && Number(length) <= SMALL) return this.#collect();
		const body = new UploadBody(this.#req, () => this.#dispatch(body));
		this.#body = body;
	}

	/** The response has closed: finished, or the client has left. */
	closed(): void {
		if (this.#over) return;
		this.#over = true;
		this.#controller?.abort(GONE);
		this.#body?.destroy();
	}

	/** Ends it from our side: the credential is not valid any more, or the client does not move. */
	end(code: DoorErrorCode): void {
		if (this.#over) return;
		this.#over = true;
		this.#controller?.abort(REVOKED);
		this.#body?.destroy();
		this.#refuse(code);
	}

	#collect(): void {
		const chunks: Buffer[] = [];
		this.#waitingSince = performance.now();
		this.#req
			.on("data", (chunk: Buffer) => {
				this.#waitingSince = performance.now();
				chunks.push(chunk);
			})
			.once("end", () => {
				this.#waitingSince = undefined;
				const [first] = chunks;
				if (!this.#over) this.#dispatch(chunks.length === 1 && first ? first : Buffer.concat(chunks));
			});
	}

	#dispatch(body: Buffer | UploadBody | null): void {
		this.#tries++;
		const headers = headersToUpstream(this.#req.headers);
		const length = this.#req.headers["content-length"];
		if (body instanceof UploadBody && length !== undefined) headers.push("content-length", length);
		this.#upstream.dispatch(
			{
				path: this.#path,
				method: this.#req.method as Dispatcher.HttpMethod,
				headers,
				body,
			},
			this,
		);
	}

	onRequestStart(controller: Dispatcher.DispatchController): void {
		// It may have waited for a connection: nothing has been sent yet, and nothing is for who has left.
		if (this.#over) return controller.abort(GONE);
		this.#controller = controller;
	}

	onResponseStart(controller: Dispatcher.DispatchController, status: number): void {
		if (status < 200) return;
		if (this.#over) return controller.abort(GONE);
		this.#res.writeHead(status, headersFromUpstream(controller.rawHeaders as Buffer[]));
		this.#begun = true;
	}

	onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
		if (this.#over || this.#res.write(chunk)) return;
		controller.pause();
		this.#waitingSince = performance.now();
		this.#res.once("drain", () => {
			this.#waitingSince = undefined;
			controller.resume();
		});
	}

	onResponseEnd(): void {
		if (this.#over) return;
		this.#over = true;
		this.#res.end();
	}

	onResponseError(_: unknown, error: Error): void {
		if (this.#over) return;
		const safe = this.#req.method === "GET" || this.#req.method === "HEAD";
		if (safe && !this.#begun && this.#tries === 1 && LOST.has(codeOf(error))) {
			// Most likely a kept connection that MLflow closed just now. Reading twice harms nobody.
			this.#controller = undefined;
			this.#dispatch(null);
			return;
		}
		this.#over = true;
		this.#told.failed(error);
		this.#refuse(SLOW.has(codeOf(error)) ? "UPSTREAM_TIMEOUT" : "UPSTREAM_UNAVAILABLE");
	}

	/** After upstream's answer has begun the connection is cut instead: that says it is not whole. */
	#refuse(code: DoorErrorCode): void {
		if (!this.#res.headersSent) this.#told.refused(code);
		refuse(this.#req, this.#res, code);
	}
}
