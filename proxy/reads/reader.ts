/** One client that reads: its question until it is whole, and the answer that it gets, whoever computed it. */
import { refuse } from "../answer.ts";
import type { Allowed } from "../answerer.ts";
import type { Identity } from "../authority.ts";
import { onceClosed } from "../closed.ts";
import { type Coding, codingFor, WORTH_COMPRESSING } from "../encoding.ts";
import type { DoorErrorCode } from "../errors.ts";
import type { Transfers, Watched } from "../forward/transfers.ts";
import { hasBody } from "../gate/framing.ts";
import { endWith } from "../one-write.ts";
import type { Answer } from "./answer.ts";

/** So much goes out at once; what a client has taken of it shows that it moves. In bytes. */
const SLICE = 256 * 1024;

/** What a reader waits for. */
export interface Computation {
	add(reader: Reader): void;
	/** Its client has left or has its answer, or it was ended. */
	leave(reader: Reader): void;
}

export class Reader implements Watched {
	readonly allowed: Allowed;
	readonly #asked: (body: Buffer | null) => void;
	#computation: Computation | undefined;
	#over = false;
	#unwatch: () => void = () => {};
	waitingSince: number | undefined;

	/** @param asked called once with the whole question */
	constructor(allowed: Allowed, asked: (body: Buffer | null) => void) {
		this.allowed = allowed;
		this.#asked = asked;
	}

	get identity(): Identity {
		return this.allowed.identity;
	}

	begin(transfers: Transfers): void {
		const { req, res } = this.allowed;
		this.#unwatch = transfers.watch(res, this);
		onceClosed(res, this.#closed);
		if (!hasBody(req)) {
			this.#asked(null);
			return;
		}
		if (req.headers.expect !== undefined) res.writeContinue();
		const chunks: Buffer[] = [];
		this.waitingSince = performance.now();
		req
			.on("data", (chunk: Buffer) => {
				this.waitingSince = performance.now();
				chunks.push(chunk);
			})
			.once("end", () => {
				this.waitingSince = undefined;
				if (this.#over) return;
				const [first] = chunks;
				this.#asked(chunks.length === 1 && first !== undefined ? first : Buffer.concat(chunks));
			});
	}

	/** Waits for a computation. */
	join(computation: Computation): void {
		this.#computation = computation;
		computation.add(this);
	}

	readonly #closed = (): void => {
		this.#over = true;
		this.#computation?.leave(this);
	};

	/** Whether nothing more goes to the client. */
	get over(): boolean {
		return this.#over;
	}

	end(code: DoorErrorCode): void {
		if (this.#over) return;
		this.#over = true;
		const { req, res, refused } = this.allowed;
		if (!res.headersSent) refused(code);
		refuse(req, res, code);
		this.#computation?.leave(this);
	}

	/** Somebody else takes it from here. */
	release(): Allowed {
		this.#over = true;
		this.#computation = undefined;
		this.#unwatch();
		return this.allowed;
	}

	/** Sends a whole answer. What is small goes at once. Never throws. */
	answer(answer: Answer): void {
		const coding =
			answer.body.length < WORTH_COMPRESSING
				? undefined
				: codingFor(this.allowed.req.headers["accept-encoding"]);
		const failed = (error: unknown): void => {
			this.allowed.failed(error as Error);
			this.end("INTERNAL");
		};
		if (coding !== undefined) {
			answer
				.in(coding)
				.then((body) => this.#write(answer, body, coding))
				.catch(failed);
			return;
		}
		try {
			this.#write(answer, answer.body, undefined);
		} catch (error) {
			failed(error);
		}
	}

	#write(answer: Answer, body: Buffer, coding: Coding | undefined): void {
		if (this.#over) return;
		const { res } = this.allowed;
		const headers = [...answer.headers, "Content-Length", String(body.length)];
		if (coding !== undefined) headers.push("Content-Encoding", coding);
		res.writeHead(answer.status, headers);
		if (body.length <= SLICE) {
			endWith(res, body);
			if (res.writableLength > 0) this.waitingSince = performance.now();
			return;
		}
		this.#send(body, 0);
	}

	#send(body: Buffer, from: number): void {
		const { res } = this.allowed;
		this.waitingSince = undefined;
		for (let at = from; at < body.length; ) {
			if (this.#over) return;
			const moves = res.write(body.subarray(at, at + SLICE));
			at += SLICE;
			if (moves) continue;
			this.waitingSince = performance.now();
			res.once("drain", () => this.#send(body, at));
			return;
		}
		res.end();
		this.waitingSince = performance.now();
	}
}
