/**
 * Questions that are equal are computed once while they are on their way. Equal means equal to MLflow, and asked with
 * the same role and scope. An answer is shared only among questions with no write between them, begun or ended: a read
 * that follows a write is never answered from before that write's end.
 */
import type { ServerResponse } from "node:http";
import type { Reader } from "./reader.ts";
import type { Shared } from "./shared.ts";
import { Writes } from "./writes.ts";

export class Sharing {
	readonly #writes: Writes;
	readonly #running = new Map<string, Shared>();

	/** @param unseen milliseconds, for tests */
	constructor(unseen?: number) {
		this.#writes = new Writes(unseen);
	}

	/** A write has come and has not been sent on yet. It ends with its answer. */
	write(res: ServerResponse): void {
		this.#writes.begin(res);
	}

	/**
	 * Joins an equal question, or becomes one that others join.
	 * @param body of the question
	 * @param make called if there is none to join
	 */
	join(reader: Reader, body: Buffer | null, make: (quiet: number | undefined) => Shared): void {
		const { req, target, identity } = reader.allowed;
		const { accept = "", "content-type": type = "" } = req.headers;
		const question = body === null ? "" : body.toString("latin1");
		const key = [identity.role, identity.scope, req.method, target.forward, accept, type, question].join(
			"\n",
		);
		const { quiet } = this.#writes;
		const running = this.#running.get(key);
		if (running !== undefined && quiet !== undefined && running.quiet === quiet) {
			reader.join(running);
			return;
		}
		const own = make(quiet);
		if (quiet !== undefined) {
			this.#running.set(key, own);
			own.ended(() => {
				if (this.#running.get(key) === own) this.#running.delete(key);
			});
		}
		reader.join(own);
		own.start(reader);
	}
}
