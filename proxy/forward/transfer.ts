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
import type { Held, HeldRequest } from "../hold/upstream.ts";
import { writeBytes } from "../one-write.ts";
import { DECIDING } from "../routes/bodies.ts";
import type { Safety } from "../safety.ts";
import { LARGEST, SMALL, UploadBody } from "./body.ts";
import { headersFromUpstream, headersToUpstream } from "./headers.ts";
import type { Watched } from "./transfers.ts";

/** Looks at a whole body before it is sent on. @returns why it is not */
export type Judge = (body: Buffer) => DoorErrorCode | undefined;

/** What is to be sent on, on whose behalf. */
export interface Order {
	/** The canonical path and query. */
	path: string;
	identity: Identity;
	/** What browsers are told about the answer. */
	safety: Safety;
	/** The body decides: it is taken in whole, whatever its framing, and judged. */
	judge?: Judge | undefined;
	/** The request's whole body, where somebody has taken it in already; null: it has none. */
	body?: Buffer | null;
	/** How long it may wait for MLflow, and whether it may be sent again. */
	held?: Held | undefined;
}

/** What a transfer tells about itself. */
export interface Told {
	/** The answer came from the door, not from MLflow. */
	refused(code: DoorErrorCode): void;
	/** The request's body, where it was taken in whole. */
	body(body: Buffer): void;
	/** Something went wrong behind the door. */
	failed(error: Error): void;
}

const GONE = new Error("the client has left");
const ENDED = new Error("the door has ended this request");

/** What an error of a request to MLflow is to the client; every other one is that MLflow does not answer. */
const REFUSALS: Readonly<Record<string, DoorErrorCode>> = {
	HOLD_FULL: "HOLD_FULL",
	HOLD_LATE: "HOLD_LATE",
	DATABASE_TROUBLE: "DATABASE_TROUBLE",
	DATABASE_FULL: "DATABASE_FULL",
	UND_ERR_HEADERS_TIMEOUT: "UPSTREAM_TIMEOUT",
	UND_ERR_BODY_TIMEOUT: "UPSTREAM_TIMEOUT",
	UND_ERR_CONNECT_TIMEOUT: "UPSTREAM_TIMEOUT",
};

/** The row that a request to MLflow ends with, if no answer came. */
export const refusalOf = (error: Error): DoorErrorCode =>
	REFUSALS["code" in error ? String(error.code) : ""] ?? "UPSTREAM_UNAVAILABLE";

export class Transfer implements Dispatcher.DispatchHandler, Watched {
	readonly order: Order;
	readonly #req: IncomingMessage;
	readonly #res: ServerResponse;
	readonly #upstream: Dispatcher;
	readonly #told: Told;
	readonly #stands: () => boolean;
	#controller: Dispatcher.DispatchController | undefined;
	#body: UploadBody | undefined;
	/** Nothing more goes to the client, and nothing more is wanted from upstream. */
	#over = false;
	#waitingSince: number | undefined;

	/**
	 * @param told what it reports to; may be called until the response has closed
	 * @param stands whether the credential is still valid: it may have waited for MLflow
	 */
	constructor(
		req: IncomingMessage,
		res: ServerResponse,
		order: Order,
		upstream: Dispatcher,
		told: Told,
		stands: () => boolean,
	) {
		this.#req = req;
		this.#res = res;
		this.order = order;
		this.#upstream = upstream;
		this.#told = told;
		this.#stands = stands;
	}

	get identity(): Identity {
		return this.order.identity;
	}

	get waitingSince(): number | undefined {
		return this.#waitingSince ?? this.#body?.waitingSince;
	}

	start(): void {
		const { headers } = this.#req;
		const { judge, body: taken } = this.order;
		if (taken !== undefined) {
			this.#dispatch(taken);
			return;
		}
		if (!hasBody(this.#req)) {
			const refused = judge?.(Buffer.alloc(0));
			if (refused !== undefined) this.end(refused);
			else this.#dispatch(null);
			return;
		}
		const length = headers["content-length"];
		// An artifact may be of any size, and is streamed.
		const message = this.#req.method !== "PUT";
		if (message && Number(length ?? 0) > (judge === undefined ? LARGEST : DECIDING)) {
			this.end("BODY_TOO_LARGE");
			return;
		}
		if (headers.expect !== undefined) this.#res.writeContinue();
		if (judge !== undefined || (length === undefined ? message : Number(length) <= SMALL)) {
			this.#collect(judge);
			return;
		}
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

	/** Ends it from our side: the body is refused, the credential not valid any more, the client does not move. */
	end(code: DoorErrorCode): void {
		if (this.#over) return;
		this.#over = true;
		this.#controller?.abort(ENDED);
		this.#body?.destroy();
		this.#refuse(code);
	}

	#collect(judge: Judge | undefined): void {
		const chunks: Buffer[] = [];
		let size = 0;
		this.#waitingSince = performance.now();
		this.#req
			.on("data", (chunk: Buffer) => {
				this.#waitingSince = performance.now();
				size += chunk.length;
				if (size <= DECIDING) chunks.push(chunk);
				else this.end("BODY_TOO_LARGE");
			})
			.once("end", () => {
				this.#waitingSince = undefined;
				if (this.#over) return;
				const [first] = chunks;
				const body = chunks.length === 1 && first !== undefined ? first : Buffer.concat(chunks);
				this.#told.body(body);
				const refused = judge?.(body);
				if (refused !== undefined) this.end(refused);
				else this.#dispatch(body);
			});
	}

	#dispatch(body: Buffer | UploadBody | null): void {
		const headers = headersToUpstream(this.#req.headers);
		const length = this.#req.headers["content-length"];
		// An artifact goes in chunks even if its length is known: of a connection that breaks in the middle,
		// gunicorn makes a short body where a length was announced, and MLflow stores it over the whole one.
		if (body instanceof UploadBody && length !== undefined && this.#req.method !== "PUT") {
			headers.push("content-length", length);
		}
		const request: Dispatcher.DispatchOptions & HeldRequest = {
			path: this.order.path,
			method: this.#req.method as Dispatcher.HttpMethod,
			headers,
			body,
			held: this.order.held,
		};
		this.#upstream.dispatch(request, this);
	}

	onRequestStart(controller: Dispatcher.DispatchController): void {
		// It may have waited for a connection: nothing has been sent yet, and nothing is for who has left.
		if (this.#over) controller.abort(GONE);
		else {
			this.#controller = controller;
			if (!this.#stands()) this.end("CREDENTIAL_ENDED");
		}
	}

	onResponseStart(controller: Dispatcher.DispatchController, status: number): void {
		if (status < 200 || this.#over) return;
		this.#res.writeHead(
			status,
			headersFromUpstream(controller.rawHeaders as Buffer[], status, this.order.safety),
		);
	}

	onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
		if (this.#over || writeBytes(this.#res, chunk)) return;
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
		// An answer may come before the end of the upload. The rest is drained.
		this.#body?.destroy();
	}

	onResponseError(_: unknown, error: Error): void {
		if (this.#over) return;
		this.#over = true;
		this.#body?.destroy();
		this.#told.failed(error);
		this.#refuse(refusalOf(error));
	}

	/** After upstream's answer has begun the connection is cut instead: that says it is not whole. */
	#refuse(code: DoorErrorCode): void {
		if (!this.#res.headersSent) this.#told.refused(code);
		refuse(this.#req, this.#res, code);
	}
}
