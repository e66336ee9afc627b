/**
 * One create on its way. It is asked once, however often it is sent: an answer that is lost is looked for in MLflow's
 * database, and only what is not there is asked for again.
 */
import type { Dispatcher } from "undici";
import { isAway, isFull } from "../accounts/database.ts";
import { refuse } from "../answer.ts";
import type { Allowed } from "../answerer.ts";
import type { Identity } from "../authority.ts";
import type { DoorErrorCode } from "../errors.ts";
import { headersFromUpstream, headersToUpstream } from "../forward/headers.ts";
import type { Order } from "../forward/transfer.ts";
import { refusalOf } from "../forward/transfer.ts";
import type { Watched } from "../forward/transfers.ts";
import { hasBody } from "../gate/framing.ts";
import { REFUSALS } from "../hold/answerer.ts";
import type { Holds } from "../hold/holds.ts";
import { OWN_DATABASE } from "../hold/parts.ts";
import { type HeldRequest, HoldError } from "../hold/upstream.ts";
import type { Metrics } from "../metrics.ts";
import { DECIDING, messageOf } from "../routes/bodies.ts";
import { type Finder, type Look, Unsettled } from "./finder.ts";
import type { Intent, Intents, NewIntent } from "./intents.ts";
import type { Creating, Message } from "./table.ts";

/** Of an answer, in bytes: what was asked for and little more. */
const LARGEST = 8 * 1024 * 1024;

export interface Parts {
	upstream: Dispatcher;
	holds: Holds;
	intents: Intents;
	finder: Finder;
	stands(identity: Identity): boolean;
	metrics: Pick<Metrics, "recovered">;
}

/** MLflow's answer. */
interface Answer {
	status: number;
	/** Names and values. */
	headers: readonly string[];
	body: Buffer;
}

/** What became of a request to MLflow. */
type Outcome =
	| { is: "answered"; answer: Answer }
	/** Nothing was sent. */
	| { is: "unsent"; error: Error }
	/** It may have been done. `answer`: MLflow failed and said so. */
	| { is: "unknown"; error: Error; answer?: Answer };

const JSON_ANSWER = ["content-type", "application/json"];

const answerOf = (message: Message): Answer => ({
	status: 200,
	headers: JSON_ANSWER,
	body: Buffer.from(JSON.stringify(message)),
});

/** MLflow's own answers read so; an admin's body may be written in more ways, of which nothing can be looked for. */
function readMessage(body: Buffer): Message | undefined {
	const read = messageOf(body);
	return "message" in read ? read.message : undefined;
}

export class Create implements Watched {
	readonly #allowed: Allowed;
	readonly #order: Order;
	readonly #creating: Creating;
	readonly #parts: Parts;
	waitingSince: number | undefined;
	/** Nothing more goes to the client. */
	#over = false;
	/** Called when the client has left, and when all of the answer has gone out. */
	#left: () => void = () => {};
	#told: () => void = () => {};

	constructor(allowed: Allowed, order: Order, creating: Creating, parts: Parts) {
		this.#allowed = allowed;
		this.#order = order;
		this.#creating = creating;
		this.#parts = parts;
	}

	get identity(): Identity {
		return this.#allowed.identity;
	}

	end(code: DoorErrorCode): void {
		if (this.#over) return;
		this.#over = true;
		const { req, res, refused } = this.#allowed;
		if (!res.headersSent) refused(code);
		refuse(req, res, code);
	}

	#closed(): void {
		this.#over = true;
		if (this.#allowed.res.writableFinished) this.#told();
		else this.#left();
	}

	/** @param given of the intent, without the body's hash, which is made of the whole body */
	async run(given: (body: Buffer) => NewIntent): Promise<void> {
		const { res } = this.#allowed;
		res.once("close", () => this.#closed());
		const body = await this.#take();
		if (body === undefined) return;
		this.#allowed.body(body);
		const refused = this.#order.judge?.(body);
		if (refused !== undefined) return this.end(refused);
		const intent = await this.#intentOf(given(body), body.length);
		if (intent === undefined) return;
		if (this.#over) {
			// Nothing is made for who has left. What was made before stays to be asked for.
			if (intent.lostAt === undefined) this.#parts.intents.close(intent, undefined);
			else this.#parts.intents.leave(intent);
			return;
		}
		const work = this.#make(intent, body, readMessage(body)).catch((error: unknown) => {
			this.#parts.intents.leave(intent);
			throw error;
		});
		this.#left = () => this.#parts.intents.orphan(intent, work);
		await work;
	}

	/** The whole body; undefined if there is nobody to answer any more. */
	async #take(): Promise<Buffer | undefined> {
		const { req, res } = this.#allowed;
		if (!hasBody(req)) return Buffer.alloc(0);
		if (req.headers.expect !== undefined) res.writeContinue();
		const chunks: Buffer[] = [];
		let size = 0;
		this.waitingSince = performance.now();
		return await new Promise((resolve) => {
			this.#left = () => resolve(undefined);
			req
				.on("data", (chunk: Buffer) => {
					this.waitingSince = performance.now();
					size += chunk.length;
					if (size <= DECIDING) chunks.push(chunk);
					else this.end("BODY_TOO_LARGE");
				})
				.once("end", () => {
					this.waitingSince = undefined;
					resolve(this.#over ? undefined : Buffer.concat(chunks));
				});
		});
	}

	/** An equal request's whose outcome nobody knows, or a new one that is committed. */
	async #intentOf(given: NewIntent, bytes: number): Promise<Intent | undefined> {
		const { intents, holds } = this.#parts;
		const { patience } = this.#allowed;
		const claimed = await intents.claim(given);
		if (claimed !== undefined) return claimed;
		for (;;) {
			let full = false;
			try {
				return await intents.record(given);
			} catch (error) {
				if (!isAway(error)) throw error;
				full = isFull(error);
				holds.away(OWN_DATABASE, error);
			}
			const outcome = await holds.wait([OWN_DATABASE, "postgres"], patience, bytes);
			if (outcome === "there" && this.#parts.stands(this.identity)) continue;
			if (outcome === "late" && full) this.end("DATABASE_FULL");
			else if (outcome !== "gone") this.end(outcome === "there" ? "CREDENTIAL_ENDED" : REFUSALS[outcome]);
			return undefined;
		}
	}

	async #make(intent: Intent, body: Buffer, message: Message | undefined): Promise<void> {
		const { intents, metrics } = this.#parts;
		const { patience } = this.#allowed;
		let [begun, left] = [performance.now(), patience.left];
		// One that somebody else has left was sent already: what it made is there, or can be asked for anew.
		let outcome: Outcome =
			intent.lostAt === undefined
				? await this.#ask(body)
				: { is: "unknown", error: new Error("an earlier door, or an earlier request, lost its answer") };
		for (;;) {
			if (outcome.is === "answered") return this.#tell(intent, message, outcome.answer);
			if (outcome.is === "unsent") {
				// One that was sent before stays unknown.
				if (intent.lostAt === undefined) intents.close(intent, undefined);
				else intents.leave(intent);
				return this.#fail(outcome.error);
			}
			intent.lostAt ??= performance.now();
			this.#allowed.failed(outcome.error);
			const look = message && this.#creating.look(message);
			// Of such a body MLflow makes nothing, and says so itself.
			if (look === undefined && outcome.answer !== undefined)
				return this.#tell(intent, message, outcome.answer);
			const found = await this.#find(intent, look, body.length);
			if (found === "unknown") {
				intents.leave(intent);
				return this.#fail(outcome.error);
			}
			if (found !== undefined) {
				metrics.recovered("found");
				return this.#tell(intent, message, found);
			}
			if (outcome.answer !== undefined) return this.#tell(intent, message, outcome.answer);
			if (this.#over || !this.#parts.stands(this.identity)) {
				intents.close(intent, undefined);
				return this.end("CREDENTIAL_ENDED");
			}
			// Its own time counts as well: a database that refuses quickly would be asked past the client's patience.
			patience.left = Math.min(patience.left, left - (performance.now() - begun));
			if (patience.left <= 0) {
				intents.close(intent, undefined);
				return this.#fail(outcome.error);
			}
			[begun, left] = [performance.now(), patience.left];
			metrics.recovered("repeated");
			outcome = await this.#ask(body);
		}
	}

	async #ask(body: Buffer): Promise<Outcome> {
		const { req, patience } = this.#allowed;
		let sent = false;
		const request: Dispatcher.RequestOptions & HeldRequest = {
			path: this.#order.path,
			method: req.method as Dispatcher.HttpMethod,
			headers: headersToUpstream(req.headers),
			body,
			responseHeaders: "raw",
			held: {
				patience,
				repeat: "once",
				started: () => {
					sent = true;
				},
			},
		};
		try {
			const answer = await this.#whole(request);
			if (answer.status < 500) return { is: "answered", answer };
			return { is: "unknown", error: new Error(`MLflow answered ${answer.status}`), answer };
		} catch (error) {
			return { is: sent ? "unknown" : "unsent", error: error as Error };
		}
	}

	async #whole(request: Dispatcher.RequestOptions): Promise<Answer> {
		const { statusCode, headers, body } = await this.#parts.upstream.request(request);
		const chunks: Buffer[] = [];
		let size = 0;
		for await (const chunk of body as AsyncIterable<Buffer>) {
			size += chunk.length;
			if (size > LARGEST) throw new Error("an answer to a create is larger than any of them");
			chunks.push(chunk);
		}
		return { status: statusCode, headers: headers as unknown as string[], body: Buffer.concat(chunks) };
	}

	/** MLflow's answer about what was made; undefined: nothing was. `unknown`: that cannot be said now. */
	async #find(
		intent: Intent,
		look: Look | undefined,
		bytes: number,
	): Promise<Answer | undefined | "unknown"> {
		const { finder, holds, intents } = this.#parts;
		const { patience } = this.#allowed;
		// MLflow refuses what cannot be looked for; if it ever should not, nobody can tell.
		if (look === undefined) return "unknown";
		const needed = [OWN_DATABASE, "postgres", "mlflow"] as const;
		for (;;) {
			if ((await holds.wait(needed, patience, bytes)) !== "there") return "unknown";
			try {
				const name = await finder.find(look, intent, (made) => intents.isMade(made));
				if (name === undefined) return undefined;
				return await this.#describe(name);
			} catch (error) {
				if (!isAway(error)) {
					if (!(error instanceof Unsettled || error instanceof HoldError)) throw error;
					return "unknown";
				}
				holds.away(OWN_DATABASE, error);
			}
		}
	}

	/** What MLflow says of what it has made, in the words of the create's own answer. */
	async #describe(name: string): Promise<Answer | "unknown"> {
		const { path, answer = (found) => found, fixed = {} } = this.#creating;
		if (path === undefined) return answerOf(fixed);
		const request: Dispatcher.RequestOptions & HeldRequest = {
			path: path(name),
			method: "GET",
			responseHeaders: "raw",
			held: { patience: this.#allowed.patience, repeat: "safe" },
		};
		const { status, body } = await this.#whole(request);
		if (status !== 200) return "unknown";
		return answerOf(answer(JSON.parse(body.toString("utf8")) as Message));
	}

	/** Sends MLflow's answer. The intent is closed only when all of it has gone out. */
	#tell(intent: Intent, message: Message | undefined, answer: Answer): void {
		const { intents } = this.#parts;
		const { res } = this.#allowed;
		if (this.#over) return intents.leave(intent);
		this.#over = true;
		const made = answer.status === 200 && message ? this.#madeBy(message, answer.body) : undefined;
		this.#left = () => intents.leave(intent);
		this.#told = () => intents.close(intent, made);
		const headers = headersFromUpstream(answer.headers, answer.status, this.#order.safety);
		const plain = headers.filter((_, i) => headers[i - (i % 2)]?.toLowerCase() !== "content-length");
		res.writeHead(answer.status, [...plain, "Content-Length", String(answer.body.length)]);
		res.end(answer.body);
	}

	#madeBy(message: Message, body: Buffer): string | undefined {
		try {
			return this.#creating.made(message, JSON.parse(body.toString("utf8")) as Message);
		} catch {
			return undefined;
		}
	}

	#fail(error: Error): void {
		if (this.#over) return;
		this.#allowed.failed(error);
		this.end(refusalOf(error));
	}
}
