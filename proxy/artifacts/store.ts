/**
 * The object store, as far as artifacts need it: signed S3 requests over kept connections, bodies never held
 * whole. Errors come in two kinds: `StoreUnavailable` may pass, `StoreError` is the store's word.
 */
import { createHash } from "node:crypto";
import aws4 from "aws4";
import { type Dispatcher, Pool } from "undici";
import { ArtifactError } from "./errors.ts";
import { StoreUnavailable } from "./patience.ts";
import { canCarry, decodeName, elements, escapeText, text } from "./xml.ts";

export interface StoreSettings {
	/** Origin, like `http://minio:9000`. */
	url: string;
	bucket: string;
	user: string;
	secret: string;
}

/** The store's word, in S3's codes (`NoSuchKey`, ...). HEAD has none: there it is `""`. */
export class StoreError extends Error {
	override readonly name = "StoreError";
	readonly status: number;
	readonly code: string;

	constructor(status: number, body: string) {
		const code = text(body, "Code") ?? "";
		super(`${status} ${code}: ${text(body, "Message") ?? "the store gave no reason"}`);
		this.status = status;
		this.code = code;
	}
}

export interface ObjectInfo {
	size: number;
	/** With its quotes. */
	etag: string;
	/** As in the header. */
	lastModified: string;
}

export interface StoredObject {
	/** Bytes. */
	size: number;
	/** With its quotes. */
	etag: string;
	body: AsyncIterable<Buffer>;
}

export interface Part {
	number: number;
	/** With its quotes. */
	etag: string;
}

export interface UnfinishedUpload {
	key: string;
	id: string;
	started: Date;
}

export interface Page {
	files: { key: string; size: number }[];
	/** Common prefixes, with their slash. */
	folders: string[];
	/** Leads to the next page, if there is one. */
	next: string | undefined;
}

type Query = Readonly<Record<string, string>>;
type Headers = Readonly<Record<string, string>>;
type StoreBody = Buffer | AsyncIterable<Buffer> | null;

interface StoreRequest {
	method: Dispatcher.HttpMethod;
	/** `""`: the bucket itself. */
	key: string;
	query?: Query;
	headers?: Headers;
	body?: StoreBody;
}

interface Answer {
	status: number;
	headers: Record<string, string | string[] | undefined>;
	body: string;
}

/** Milliseconds, where no other unit is said. */
const LIMITS = {
	connectTimeout: 3_000,
	/** Go's server closes idle connections after 30 s at the earliest: the side that sends is the side that closes. */
	keepAliveTimeout: 20_000,
	/** From the end of a request to its answer, and between two chunks of one. */
	headersTimeout: 30_000,
	bodyTimeout: 30_000,
	/**
	 * Connections. MinIO serves about 300 requests at once with the memory that it has by default: clients that read
	 * slowly must not take them all, or nobody can store or list anything.
	 */
	downloads: 192,
	others: 96,
} as const;

/** Putting ten thousand parts together, in milliseconds. */
const COMPLETE_TIMEOUT = 300_000;

/** What may pass. 500 is what MinIO answers while its disks are not there yet. */
const PASSING: ReadonlySet<number> = new Set([500, 502, 503, 504]);
export const passes = (status: number): boolean => PASSING.has(status);

/** Keys on a page, and of one request to delete; S3 knows no more. */
export const BATCH = 1000;

const encode = (part: string): string =>
	encodeURIComponent(part).replace(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`);

const header = (value: string | string[] | undefined): string =>
	Array.isArray(value) ? (value[0] ?? "") : (value ?? "");

export class Store {
	readonly #downloads: Pool;
	readonly #pool: Pool;
	readonly #away: (why: unknown) => void;
	readonly #host: string;
	readonly #bucket: string;
	readonly #credentials: { accessKeyId: string; secretAccessKey: string };

	/** @param away told when the store cannot be reached */
	constructor({ url, bucket, user, secret }: StoreSettings, away: (why: unknown) => void = () => {}) {
		this.#away = away;
		const { connectTimeout, downloads, others, ...limits } = LIMITS;
		const connect = { timeout: connectTimeout, noDelay: true };
		const keepAliveMaxTimeout = limits.keepAliveTimeout;
		const open = (connections: number) =>
			new Pool(url, { ...limits, keepAliveMaxTimeout, connect, connections, pipelining: 1 });
		this.#downloads = open(downloads);
		this.#pool = open(others);
		this.#host = new URL(url).host;
		this.#bucket = bucket;
		this.#credentials = { accessKeyId: user, secretAccessKey: secret };
	}

	#signed({ method, key, query = {}, headers = {}, body = null }: StoreRequest): Dispatcher.DispatchOptions {
		const pairs = Object.entries(query).map(([name, value]) => `${encode(name)}=${encode(value)}`);
		const path = `/${this.#bucket}${key === "" ? "" : `/${key.split("/").map(encode).join("/")}`}`;
		const request = {
			service: "s3",
			region: "us-east-1",
			method,
			host: this.#host,
			path: pairs.length === 0 ? path : `${path}?${pairs.join("&")}`,
			headers: { ...headers, "X-Amz-Content-Sha256": "UNSIGNED-PAYLOAD" },
		};
		const signed = aws4.sign(request, this.#credentials);
		return {
			method,
			path: request.path,
			headers: signed.headers as Record<string, string>,
			// undici takes any iterable of bytes; its types name streams only.
			body: body as Dispatcher.DispatchOptions["body"],
		};
	}

	/** Gets an object whose answer is streamed to `handler`. With too many of them under way it waits its turn. */
	stream(key: string, headers: Headers, handler: Dispatcher.DispatchHandler): void {
		this.#downloads.dispatch(this.#signed({ method: "GET", key, headers }), handler);
	}

	/**
	 * A whole object for whoever takes it at a pace of its own.
	 * @returns undefined if there is no such object
	 */
	async get(key: string, signal: AbortSignal): Promise<StoredObject | undefined> {
		const { statusCode, headers, body } = await this.#downloads.request({
			...this.#signed({ method: "GET", key }),
			signal,
		} as Dispatcher.RequestOptions);
		if (statusCode === 200) {
			return { size: Number(header(headers["content-length"])), etag: header(headers.etag), body };
		}
		const error = new StoreError(statusCode, await body.text());
		if (error.code === "NoSuchKey") return undefined;
		throw error;
	}

	/** A request whose answer is small. */
	async #ask(
		request: StoreRequest,
		signal: AbortSignal,
		limits: { headersTimeout?: number } = {},
	): Promise<Answer> {
		signal.throwIfAborted();
		let answer: Answer;
		try {
			const { statusCode, headers, body } = await this.#pool.request({
				...this.#signed(request),
				...limits,
				signal,
			} as Dispatcher.RequestOptions);
			answer = { status: statusCode, headers, body: await body.text() };
		} catch (cause) {
			signal.throwIfAborted();
			// Whoever sends the body has something to say about it.
			if (cause instanceof ArtifactError) throw cause;
			this.#away(cause);
			throw new StoreUnavailable("the store does not answer", { cause });
		}
		if (passes(answer.status)) {
			throw new StoreUnavailable("the store asks to be asked later", {
				cause: new StoreError(answer.status, answer.body),
			});
		}
		if (answer.status >= 400) throw new StoreError(answer.status, answer.body);
		return answer;
	}

	/** @returns undefined if there is no such object */
	async head(key: string, signal: AbortSignal): Promise<ObjectInfo | undefined> {
		try {
			const { headers } = await this.#ask({ method: "HEAD", key }, signal);
			return {
				size: Number(header(headers["content-length"])),
				etag: header(headers.etag),
				lastModified: header(headers["last-modified"]),
			};
		} catch (error) {
			if (error instanceof StoreError && error.status === 404) return undefined;
			throw error;
		}
	}

	/**
	 * Puts an object, or a part of one if `query` says so.
	 * @param md5 of the whole body, base64, if it is known before: the store then refuses anything else
	 * @returns the ETag with its quotes: the MD5 of what the store received
	 */
	async put(
		key: string,
		query: Query,
		body: AsyncIterable<Buffer> | Buffer,
		length: number,
		md5: string | undefined,
		signal: AbortSignal,
	): Promise<string> {
		const headers = {
			"Content-Length": String(length),
			...(md5 === undefined ? {} : { "Content-MD5": md5 }),
		};
		const answer = await this.#ask({ method: "PUT", key, query, headers, body }, signal);
		return header(answer.headers.etag);
	}

	async createUpload(key: string, signal: AbortSignal): Promise<string> {
		const { body } = await this.#ask({ method: "POST", key, query: { uploads: "" } }, signal);
		const id = text(body, "UploadId");
		if (id === undefined) throw new StoreUnavailable("the store began an upload and did not name it");
		return id;
	}

	/** @returns the ETag of the whole object, with its quotes */
	async completeUpload(
		key: string,
		id: string,
		parts: readonly Part[],
		signal: AbortSignal,
	): Promise<string> {
		const list = parts.map(
			({ number, etag }) => `<Part><PartNumber>${number}</PartNumber><ETag>${escapeText(etag)}</ETag></Part>`,
		);
		const { body } = await this.#ask(
			{
				method: "POST",
				key,
				query: { uploadId: id },
				body: Buffer.from(`<CompleteMultipartUpload>${list.join("")}</CompleteMultipartUpload>`),
			},
			signal,
			{ headersTimeout: COMPLETE_TIMEOUT },
		);
		// The status was sent before the work began.
		if (body.includes("<Error>")) throw new StoreError(400, body);
		return text(body, "ETag") ?? "";
	}

	/** Nothing happens if there is no such upload. */
	async abortUpload(key: string, id: string, signal: AbortSignal): Promise<void> {
		try {
			await this.#ask({ method: "DELETE", key, query: { uploadId: id } }, signal);
		} catch (error) {
			if (!(error instanceof StoreError && error.code === "NoSuchUpload")) throw error;
		}
	}

	/** All multipart uploads that the store remembers. MinIO forgets them at a restart, though not their parts. */
	async listUploads(signal: AbortSignal): Promise<UnfinishedUpload[]> {
		const { body } = await this.#ask(
			{ method: "GET", key: "", query: { uploads: "", "encoding-type": "url" } },
			signal,
		);
		return elements(body, "Upload").map((upload) => ({
			key: decodeName(text(upload, "Key") ?? ""),
			id: text(upload, "UploadId") ?? "",
			started: new Date(text(upload, "Initiated") ?? 0),
		}));
	}

	/** When the newest part of an upload was stored; undefined if it has none, or is gone. */
	async lastPartAt(key: string, id: string, signal: AbortSignal): Promise<Date | undefined> {
		let last: Date | undefined;
		let after = "0";
		try {
			do {
				const { body } = await this.#ask(
					{ method: "GET", key, query: { uploadId: id, "part-number-marker": after } },
					signal,
				);
				for (const part of elements(body, "Part")) {
					const at = new Date(text(part, "LastModified") ?? 0);
					if (last === undefined || at > last) last = at;
				}
				after = text(body, "IsTruncated") === "true" ? (text(body, "NextPartNumberMarker") ?? "") : "";
			} while (after !== "");
		} catch (error) {
			if (!(error instanceof StoreError && error.code === "NoSuchUpload")) throw error;
		}
		return last;
	}

	/**
	 * One page of what lies under a prefix.
	 * @param flat only this level, the rest as folders
	 * @param token of the page before; undefined for the first
	 */
	async page(
		prefix: string,
		flat: boolean,
		token: string | undefined,
		signal: AbortSignal,
		limit: number = BATCH,
	): Promise<Page> {
		const { body } = await this.#ask(
			{
				method: "GET",
				key: "",
				query: {
					"list-type": "2",
					"encoding-type": "url",
					"max-keys": String(limit),
					prefix,
					...(flat ? { delimiter: "/" } : {}),
					...(token === undefined ? {} : { "continuation-token": token }),
				},
			},
			signal,
		);
		return {
			files: elements(body, "Contents").map((object) => ({
				key: decodeName(text(object, "Key") ?? ""),
				size: Number(text(object, "Size")),
			})),
			folders: elements(body, "CommonPrefixes").map((folder) => decodeName(text(folder, "Prefix") ?? "")),
			next: text(body, "IsTruncated") === "true" ? text(body, "NextContinuationToken") : undefined,
		};
	}

	/** @param keys at most 1000. Those that do not exist are no error. */
	async deleteAll(keys: readonly string[], signal: AbortSignal): Promise<void> {
		const carried = keys.filter(canCarry);
		if (carried.length > 0) {
			const list = carried.map((key) => `<Object><Key>${escapeText(key)}</Key></Object>`).join("");
			const body = Buffer.from(`<Delete><Quiet>true</Quiet>${list}</Delete>`);
			const md5 = createHash("md5").update(body).digest("base64");
			const answer = await this.#ask(
				{ method: "POST", key: "", query: { delete: "" }, headers: { "Content-MD5": md5 }, body },
				signal,
			);
			const [failure] = elements(answer.body, "Error");
			if (failure !== undefined) throw new StoreError(400, failure);
		}
		for (const key of keys) {
			if (!canCarry(key)) await this.#ask({ method: "DELETE", key }, signal);
		}
	}

	async close(): Promise<void> {
		await Promise.all([this.#downloads.destroy(), this.#pool.destroy()]);
	}
}
