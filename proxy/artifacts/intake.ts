/** The body of a request, taken off the wire no faster than somebody wants it. */
import type { IncomingMessage } from "node:http";
import { ArtifactError } from "./errors.ts";
import type { Shared } from "./exchange.ts";

export class Intake {
	readonly #req: IncomingMessage;
	readonly #signal: AbortSignal;
	readonly #idle: number;
	readonly #moved: Shared["moved"];
	#rest: Buffer | undefined;

	/**
	 * @param signal the client has left, or the request has been ended
	 * @param limits.idle how long the client may send nothing while somebody waits for it, in milliseconds
	 */
	constructor(
		req: IncomingMessage,
		signal: AbortSignal,
		{ limits, moved }: Pick<Shared, "limits" | "moved">,
	) {
		this.#req = req;
		this.#signal = signal;
		this.#idle = limits.idle;
		this.#moved = moved;
	}

	/**
	 * The next bytes, at most `most` of them; undefined at the end of the body.
	 * @throws {ArtifactError} ARTIFACT_IDLE, or the signal's reason
	 */
	async take(most: number): Promise<Buffer | undefined> {
		const chunk = this.#rest ?? (await this.#read());
		this.#rest = undefined;
		if (chunk === undefined || chunk.length <= most) return chunk;
		this.#rest = chunk.subarray(most);
		return chunk.subarray(0, most);
	}

	/** Whether nothing more comes; waits until that is known. */
	async ended(): Promise<boolean> {
		this.#rest ??= await this.#read();
		return this.#rest === undefined;
	}

	async #read(): Promise<Buffer | undefined> {
		for (;;) {
			this.#signal.throwIfAborted();
			const chunk: Buffer | null = this.#req.read();
			if (chunk !== null) {
				this.#moved("up", chunk.length);
				return chunk;
			}
			if (this.#req.readableEnded) return undefined;
			await this.#readable();
		}
	}

	#readable(): Promise<void> {
		const req = this.#req;
		const { promise, resolve, reject } = Promise.withResolvers<void>();
		const left = () => reject(this.#signal.reason);
		const timer = setTimeout(() => reject(new ArtifactError("ARTIFACT_IDLE")), this.#idle);
		req.on("readable", resolve).on("end", resolve);
		this.#signal.addEventListener("abort", left, { once: true });
		return promise.finally(() => {
			clearTimeout(timer);
			req.off("readable", resolve).off("end", resolve);
			this.#signal.removeEventListener("abort", left);
		});
	}
}
