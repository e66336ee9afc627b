/**
 * One request on its way to the inference API and its answer on the way back. Whoever leaves takes the other
 * side along. It never asks twice what could change something.
 */
import type { IncomingMessage } from "node:http";
import type { Socket } from "node:net";
import type { Allowed } from "../answerer.ts";
import type { Identity } from "../authority.ts";
import type { DoorErrorCode } from "../errors.ts";
import { UploadBody } from "../forward/body.ts";
import type { Watched } from "../forward/transfers.ts";
import { hasBody } from "../gate/framing.ts";
import type { Api } from "./dial.ts";
import { headersToApi } from "./headers.ts";
import type { Refuse } from "./refuse.ts";
import { ask } from "./relay.ts";
import { Reply } from "./reply.ts";
import { pathAtApi } from "./route.ts";

/** Milliseconds without a byte in either direction, before and within the answer. */
export const SILENCE = 600_000;

const codeOf = (error: Error): string => ("code" in error ? String(error.code) : "");

/** What the HTTP parser says of an answer that is none. */
const isUnreadable = (error: Error): boolean => codeOf(error).startsWith("HPE_");

export class Exchange implements Watched {
	readonly #allowed: Allowed;
	readonly #api: Api;
	readonly #refuse: Refuse;
	readonly #left = new AbortController();
	#body: UploadBody | undefined;
	#socket: Socket | undefined;
	#reply: Reply | undefined;
	/** Nothing more goes to the client, and nothing more is wanted from the API. */
	#over = false;
	#tries = 0;

	constructor(allowed: Allowed, api: Api, refuse: Refuse) {
		this.#allowed = allowed;
		this.#api = api;
		this.#refuse = refuse;
	}

	get identity(): Identity {
		return this.#allowed.identity;
	}

	get waitingSince(): number | undefined {
		return this.#reply?.waitingSince ?? this.#body?.waitingSince;
	}

	/** Has no end of its own: a door that stops does not wait for it. */
	get endless(): boolean {
		return this.#reply?.endless === true;
	}

	start(): void {
		const { req, res } = this.#allowed;
		res.once("close", () => this.#stop());
		req.socket.setKeepAlive(true, 60_000);
		if (!hasBody(req)) {
			void this.#send();
			return;
		}
		if (req.headers.expect !== undefined) res.writeContinue();
		// A client that announces a body and sends none of it holds nothing of the API's.
		this.#body = new UploadBody(req, () => void this.#send());
	}

	end(code: DoorErrorCode): void {
		if (this.#over) return;
		this.#stop();
		this.#refuse(this.#allowed, code);
	}

	#stop(): void {
		if (this.#over) return;
		this.#over = true;
		this.#left.abort();
		this.#socket?.destroy();
		this.#body?.destroy();
	}

	async #send(): Promise<void> {
		const { req, res, target } = this.#allowed;
		this.#tries++;
		let socket: Socket;
		try {
			socket = await this.#api.connect(this.#left.signal);
		} catch (error) {
			if (!this.#over) this.#failed(error as Error, "API_UNAVAILABLE");
			return;
		}
		if (this.#over) {
			socket.destroy();
			return;
		}
		this.#socket = socket;
		socket.setTimeout(SILENCE, () => this.end("API_TIMEOUT"));
		const path = pathAtApi(target.forward);
		const lost = (error: Error) => {
			if (this.#socket === socket) this.#lost(error);
		};
		// Some ends of a connection are none to the library: an answer that switches protocols unasked, say.
		socket.once("close", () => {
			if (this.#reply === undefined) lost(new Error("the inference API closed the connection"));
		});
		const headers = headersToApi(req.headers, this.#api.host);
		const asked = { method: req.method ?? "", path, headers, body: this.#body };
		ask(
			asked,
			req,
			res,
			{ api: this.#api.url, socket },
			{ answered: (a) => this.#answered(a, path), failed: lost },
		);
	}

	#answered(answer: IncomingMessage, path: string): void {
		if (this.#over) {
			answer.destroy();
			return;
		}
		this.#reply = new Reply(answer, this.#allowed.res, path, this.#api.host, {
			unfit: () => this.end("API_ANSWER"),
			whole: () => this.#stop(),
			cut: (error) => {
				if (this.#over) return;
				this.#stop();
				this.#allowed.failed(error);
				// That it is cut is what says that it is not whole.
				this.#allowed.res.destroy();
			},
		});
	}

	/** The connection broke before anything came back. */
	#lost(error: Error): void {
		if (this.#over || this.#reply !== undefined) return;
		const { method } = this.#allowed.req;
		if ((method === "GET" || method === "HEAD") && this.#tries === 1 && !isUnreadable(error)) {
			// Most likely an API that is being replaced: it took the connection and went. Reading twice harms nobody.
			this.#socket?.destroy();
			this.#socket = undefined;
			void this.#send();
			return;
		}
		this.#failed(error, isUnreadable(error) ? "API_ANSWER" : "API_UNAVAILABLE");
	}

	#failed(error: Error, code: DoorErrorCode): void {
		this.#allowed.failed(error);
		this.end(code);
	}
}
