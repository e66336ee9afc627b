/** Requests exactly as they are written, by the thousand, over a few kept connections. */
import { createHash } from "node:crypto";
import { Agent, request } from "node:http";

export interface Call {
	method: string;
	/** As it stands in the request line. */
	target: string;
	headers?: Readonly<Record<string, string>>;
	body?: string | Buffer | undefined;
}

export interface Said {
	status: number;
	/** The row of `errors.ts`, if the door answered with one. */
	code: string | undefined;
	headers: Readonly<Record<string, string | string[] | undefined>>;
	body: Buffer;
}

export class Caller {
	readonly #port: number;
	readonly #agent: Agent;

	constructor(port: number, connections = 8) {
		this.#port = port;
		this.#agent = new Agent({ keepAlive: true, maxSockets: connections, scheduling: "fifo" });
	}

	/** @param token null: nobody's */
	say({ method, target, headers = {}, body }: Call, token: string | null): Promise<Said> {
		const length = body === undefined ? {} : { "content-length": String(Buffer.byteLength(body)) };
		return new Promise((resolve, reject) => {
			const sent = request(
				{
					host: "127.0.0.1",
					port: this.#port,
					agent: this.#agent,
					method,
					path: target,
					headers: {
						host: `localhost:${this.#port}`,
						...(token === null ? {} : { authorization: `Bearer ${token}` }),
						...length,
						...headers,
					},
				},
				(res) => {
					const chunks: Buffer[] = [];
					res.on("data", (chunk: Buffer) => chunks.push(chunk));
					res.on("error", reject);
					res.on("end", () =>
						resolve({
							status: res.statusCode ?? 0,
							code: res.headers["x-door-error"] as string | undefined,
							headers: res.headers,
							body: Buffer.concat(chunks),
						}),
					);
				},
			);
			sent.on("error", (error) => reject(new Error(`${method} ${target}: ${error.message}`)));
			sent.end(body);
		});
	}

	close(): void {
		this.#agent.destroy();
	}
}

/** Does something with each of many, so many at once. Results in their order. */
export async function each<T, R>(
	items: readonly T[],
	work: (item: T) => Promise<R>,
	atOnce = 8,
): Promise<R[]> {
	const results: R[] = [];
	let next = 0;
	const lane = async (): Promise<void> => {
		while (next < items.length) {
			const i = next++;
			results[i] = await work(items[i] as T);
		}
	};
	await Promise.all(Array.from({ length: atOnce }, lane));
	return results;
}

export const sha = (bytes: Buffer): string => createHash("sha256").update(bytes).digest("hex").slice(0, 16);
