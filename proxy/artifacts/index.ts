/**
 * Artifacts, answered by the door from the object store itself: MLflow would copy each one to its disk first.
 *
 * What this module does not know as well as MLflow, it leaves to MLflow: runs and versions that MLflow does not
 * know, whose artifacts are somewhere else, or that are asked for in a way nobody's client asks.
 */
import { readFileSync } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Check } from "../authority.ts";
import { checked } from "../checked.ts";
import type { DoorErrorCode } from "../errors.ts";
import type { Log } from "../log.ts";
import { download } from "./download.ts";
import { ArtifactError, answerError } from "./errors.ts";
import { Exchange, type Limits, type Shared } from "./exchange.ts";
import { list, listRun, remove } from "./listing.ts";
import { Memory } from "./memory.ts";
import { isModelFile, modelFile } from "./model-file.ts";
import * as multipart from "./multipart.ts";
import { joinPath, safePath } from "./names.ts";
import { HOLD, StoreUnavailable } from "./patience.ts";
import { type AskMlflow, type Root, Roots } from "./roots.ts";
import { roundTrip } from "./round-trip.ts";
import { Spent } from "./spent.ts";
import { Store, StoreError, type StoreSettings } from "./store.ts";
import { type Ticket, Tickets } from "./tickets.ts";
import { type Pace, Unfinished } from "./unfinished.ts";
import { upload } from "./upload.ts";

export { type AskMlflow, mlflowOver } from "./roots.ts";
export { PART_PATH } from "./tickets.ts";

/** For how long a client may keep us waiting, in milliseconds: MLflow's own clients give up after as long. */
const IDLE = 120_000;
/** All bodies on their way to the store together, in bytes. Must hold the largest part of an upload of unknown length. */
const MEMORY = 64 * 1024 * 1024;
/** Milliseconds. */
const PROBE_TIMEOUT = 5_000;

export interface ArtifactsOptions {
	store: Pick<StoreSettings, "url" | "bucket" | "user"> & {
		/** Holds the user's secret key. */
		secretFile: string;
	};
	mlflow: AskMlflow;
	/** A file of ours on a volume that outlives the door: the uploads that are under way. */
	journal: string;
	log: Log;
	/** Told of bytes as they go to a client or come from one. */
	moved?: Shared["moved"];
	/** Told when the store cannot be reached: what comes from then on may wait elsewhere. */
	away?: (why: unknown) => void;
	/** For tests. */
	limits?: Partial<Limits>;
	pace?: Pace;
}

/**
 * What is asked for.
 * `download`, `upload`, `delete`: `mlflow-artifacts/artifacts/<path>`; GET and HEAD, PUT, DELETE.
 * `list`: `mlflow-artifacts/artifacts?path=`.
 * `run-list`: `artifacts/list?run_id=&path=`.
 * `run-artifact`: `get-artifact?path=&run_uuid=`; `version-artifact`: `model-versions/get-artifact?path=&name=&version=`.
 * `mpu-create`, `mpu-complete`, `mpu-abort`: `mlflow-artifacts/mpu/<...>/<path>`.
 * `mpu-part`: PUT on `PART_PATH`.
 */
export type ArtifactKind =
	| "download"
	| "upload"
	| "delete"
	| "list"
	| "run-list"
	| "run-artifact"
	| "version-artifact"
	| "mpu-create"
	| "mpu-complete"
	| "mpu-abort"
	| "mpu-part";

export interface ArtifactRequest {
	kind: ArtifactKind;
	/** Decoded and canonical, where the route has one. */
	path?: string;
	query: URLSearchParams;
	/** Aborted when the door ends the request: what it works on stops, and the door answers or cuts. */
	signal: AbortSignal;
	/** `mpu-create`: scheme, host and port that the client reached us under. */
	origin?: string;
	/** `mpu-create`: who asks, in words that `ticket` gives back with each part. */
	owner?: string;
	/** Told why it was refused or failed. */
	refused?: (code: DoorErrorCode) => void;
}

export interface Artifacts {
	/**
	 * Answers a request, errors included.
	 * @returns `fallback`: nothing has been done or read, MLflow shall answer
	 */
	handle(
		req: IncomingMessage,
		res: ServerResponse,
		request: ArtifactRequest,
	): Promise<"handled" | "fallback">;
	/** The ticket of a `mpu-part`, which carries no other credential; undefined if it is not one of ours. */
	ticket(query: URLSearchParams): Pick<Ticket, "owner"> | undefined;
	/** The model registry changes: where the artifacts of versions lie is looked up anew. */
	forgetVersions(): void;
	/** Multipart uploads that are under way or wait to be aborted. */
	readonly unfinished: number;
	/** A round trip to the store. */
	check(): Promise<Check>;
	/** An object put, got and deleted. */
	roundTrip(): Promise<Check>;
	close(): Promise<void>;
}

/** What the store's words mean to a client. */
const WORDS: Readonly<Record<string, DoorErrorCode>> = {
	KeyTooLongError: "ARTIFACT_NAME",
	XMinioInvalidObjectName: "ARTIFACT_NAME",
	XMinioInvalidResourceName: "ARTIFACT_NAME",
	XMinioObjectExistsAsDirectory: "ARTIFACT_NAME",
	XMinioParentIsObject: "ARTIFACT_NAME",
	EntityTooLarge: "ARTIFACT_TOO_LARGE",
	BadDigest: "STORE_CHECKSUM",
	XMinioStorageFull: "STORE_FULL",
	NoSuchUpload: "UPLOAD_UNKNOWN",
	InvalidPart: "UPLOAD_PARTS",
	InvalidPartOrder: "UPLOAD_PARTS",
	EntityTooSmall: "UPLOAD_PARTS",
};

function artifactError(error: unknown): ArtifactError | undefined {
	if (error instanceof ArtifactError) return error;
	if (error instanceof StoreUnavailable) return new ArtifactError("STORE_UNAVAILABLE", { cause: error });
	if (error instanceof StoreError)
		return new ArtifactError(WORDS[error.code] ?? "STORE_REFUSED", { cause: error });
	return undefined;
}

/** A parameter that occurs at most once; MLflow makes lists and tables out of others. */
const single = (query: URLSearchParams, name: string): string | undefined => query.get(name) ?? undefined;

const isPlain = (query: URLSearchParams): boolean => {
	const names = [...query.keys()];
	return new Set(names).size === names.length && !names.some((name) => name.includes("["));
};

/** @throws if the secret file cannot be read */
export function openArtifacts({
	store: at,
	mlflow,
	journal,
	log,
	moved = () => {},
	away,
	limits,
	pace,
}: ArtifactsOptions): Artifacts {
	const secret = readFileSync(at.secretFile, "utf8").trim();
	const store = new Store({ ...at, secret }, away);
	const spent = new Spent();
	const shared: Shared = {
		store,
		unfinished: new Unfinished(store, journal, log, pace),
		memory: new Memory(MEMORY),
		limits: { hold: HOLD, idle: IDLE, ...limits },
		log,
		moved(way, bytes) {
			spent.passed(bytes);
			moved(way, bytes);
		},
	};
	const roots = new Roots(mlflow, at.bucket);
	const tickets = new Tickets(secret);

	type Job = (x: Exchange) => Promise<void>;

	/** A file below a root, if the root is in our store. */
	const below = (root: Root | undefined, path: string): Job | undefined => {
		const prefix = root?.root;
		if (prefix === undefined) return undefined;
		return async (x) => {
			const key = joinPath(prefix, safePath(path));
			await (isModelFile(key) ? modelFile(x, shared, key) : download(x, shared, key));
		};
	};

	const runOf = async (query: URLSearchParams) => {
		const id = single(query, "run_id") || single(query, "run_uuid");
		return isPlain(query) && id !== undefined ? await roots.run(id) : undefined;
	};

	/** Finds out what to do. Nothing is answered and no body is read here, so that MLflow still can. */
	const jobs: Record<ArtifactKind, (request: ArtifactRequest) => Job | undefined | Promise<Job | undefined>> =
		{
			download:
				({ path = "" }) =>
				(x) =>
					download(x, shared, safePath(path)),
			upload:
				({ path = "" }) =>
				(x) =>
					upload(x, shared, safePath(path)),
			delete:
				({ path = "" }) =>
				(x) =>
					remove(x, shared, path),
			list: ({ query }) => (isPlain(query) ? (x) => list(x, shared, single(query, "path")) : undefined),
			"run-list": async ({ query }) => {
				const found = await runOf(query);
				if (found?.root === undefined) return undefined;
				const { root, uri } = found;
				return (x) => listRun(x, shared, { root, uri }, single(query, "path"));
			},
			"run-artifact": async ({ query }) => {
				const path = single(query, "path");
				return path === undefined ? undefined : below(await runOf(query), path);
			},
			"version-artifact": async ({ query }) => {
				const [path, name, version] = ["path", "name", "version"].map((key) => single(query, key));
				if (!isPlain(query) || path === undefined || name === undefined || version === undefined)
					return undefined;
				return below(await roots.version(name, version), path);
			},
			"mpu-create":
				({ path = "", origin = "", owner = "" }) =>
				(x) =>
					multipart.create(x, shared, tickets, safePath(path), { origin, owner }),
			"mpu-complete":
				({ path = "" }) =>
				(x) =>
					multipart.finish(x, shared, safePath(path)),
			"mpu-abort":
				({ path = "" }) =>
				(x) =>
					multipart.abort(x, shared, safePath(path)),
			"mpu-part":
				({ query }) =>
				(x) =>
					multipart.part(x, shared, tickets, query),
		};

	function failed(x: Exchange, { kind, refused }: ArtifactRequest, error: unknown): void {
		// Nobody waits for an answer, or somebody else gives it.
		if (x.signal.aborted) return;
		const known = artifactError(error);
		if (known === undefined) throw error;
		if (known.code.startsWith("STORE_"))
			log.warn({ err: error, kind }, "the artifact store failed a request");
		if (!x.res.headersSent) refused?.(known.code);
		answerError(x.req, x.res, known);
	}

	return {
		async handle(req, res, request) {
			const job = await jobs[request.kind](request);
			if (job === undefined) return "fallback";
			const x = new Exchange(req, res, request.signal);
			try {
				x.signal.throwIfAborted();
				await job(x);
			} catch (error) {
				failed(x, request, error);
			}
			return "handled";
		},
		ticket: (query) => tickets.read(query.get("ticket") ?? ""),
		forgetVersions: () => roots.forgetVersions(),
		get unfinished() {
			return shared.unfinished.size;
		},
		async check() {
			const started = performance.now();
			const took = () => Math.round(performance.now() - started);
			try {
				await store.page("", true, undefined, AbortSignal.timeout(PROBE_TIMEOUT), 1);
				return { name: "minio", ok: true, ms: took() };
			} catch (error) {
				return {
					name: "minio",
					ok: false,
					ms: took(),
					detail: String(error instanceof Error ? error.message : error),
				};
			}
		},
		roundTrip: () =>
			checked("minio: put, get, delete", () => roundTrip(store, AbortSignal.timeout(PROBE_TIMEOUT))),
		async close() {
			await shared.unfinished.close();
			await store.close();
		},
	};
}
