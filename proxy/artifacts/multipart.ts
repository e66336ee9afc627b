/**
 * The multipart upload that MLflow's client does itself (`MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD`). Stock MLflow
 * hands out URLs of the store; ours lead to the door.
 */
import { z } from "zod";
import { ArtifactError, answer, JSON_HEADERS } from "./errors.ts";
import type { Exchange, Shared } from "./exchange.ts";
import { Intake } from "./intake.ts";
import { joinPath, pythonJson, safePath } from "./names.ts";
import { Kept, Piece, sendPiece } from "./part.ts";
import { patiently } from "./patience.ts";
import { PART_PATH, type Tickets } from "./tickets.ts";
import { collect, complete, MOST_PARTS } from "./upload.ts";

/** Bytes. Ten thousand parts with their URLs, as the client sends them back. */
const LARGEST_BODY = 16 * 1024 * 1024;

const path = z.string().min(1);
const number = z.coerce.number().pipe(z.int().min(1).max(MOST_PARTS));
const bodies = {
	create: z.object({
		path,
		num_parts: z.coerce.number().pipe(z.int().min(0).max(MOST_PARTS)).default(0),
	}),
	complete: z.object({
		path,
		upload_id: z.string(),
		parts: z.array(z.object({ part_number: number, etag: z.string() })).min(1),
	}),
	abort: z.object({ path, upload_id: z.string() }),
} as const;

/**
 * @throws {ArtifactError} UPLOAD_JSON
 */
async function body<T>(x: Exchange, shared: Shared, shape: z.ZodType<T>): Promise<T> {
	const { req, res, signal } = x;
	const { memory, limits } = shared;
	const length = Number(req.headers["content-length"] ?? Number.NaN);
	if (!(length <= LARGEST_BODY)) throw new ArtifactError("UPLOAD_LENGTH");
	if (req.headers.expect !== undefined) res.writeContinue();
	await memory.take(length, limits.hold, signal);
	try {
		const kept = new Kept(memory, length);
		await collect(new Intake(req, signal, shared), kept, length);
		let value: unknown;
		try {
			value = JSON.parse(Buffer.concat([...kept]).toString());
			// Old clients encode twice; MLflow takes that.
			if (typeof value === "string") value = JSON.parse(value);
		} catch (cause) {
			throw new ArtifactError("UPLOAD_JSON", { cause });
		}
		const parsed = shape.safeParse(value);
		if (parsed.success) return parsed.data;
		const where = parsed.error.issues.map((issue) => issue.path.join(".")).join(", ");
		throw new ArtifactError("UPLOAD_JSON", { detail: where });
	} finally {
		memory.give(length);
	}
}

/** The client names its local file; only the last part of that name counts. */
const keyOf = (directory: string, file: string): string =>
	joinPath(directory, safePath(file.slice(Math.max(file.lastIndexOf("/"), file.lastIndexOf("\\")) + 1)));

/**
 * @param origin scheme, host and port that the client reached us under
 * @param owner see `Ticket`
 */
export async function create(
	x: Exchange,
	shared: Shared,
	tickets: Tickets,
	directory: string,
	{ origin, owner }: { origin: string; owner: string },
): Promise<void> {
	const { path: file, num_parts: parts } = await body(x, shared, bodies.create);
	const key = keyOf(directory, file);
	const upload = await shared.unfinished.begin(key, true, shared.limits.hold, x.signal);
	shared.unfinished.rest(upload);
	const ticket = tickets.issue({ key, id: upload.id, parts, owner });
	const credentials = Array.from({ length: parts }, (_, i) => ({
		url: `${origin}${PART_PATH}?part=${i + 1}&ticket=${ticket}`,
		part_number: i + 1,
	}));
	const value = { upload_id: upload.id, ...(parts === 0 ? {} : { credentials }) };
	answer(x.req, x.res, 200, JSON_HEADERS, pythonJson(value));
}

/** Takes one part. The answer is the store's: no body, and the ETag that the client sends back to complete. */
export async function part(
	x: Exchange,
	shared: Shared,
	tickets: Tickets,
	query: URLSearchParams,
): Promise<void> {
	const { req, res, signal } = x;
	const ticket = tickets.read(query.get("ticket") ?? "");
	const wanted = number.safeParse(query.get("part"));
	if (ticket === undefined || !wanted.success || wanted.data > ticket.parts)
		throw new ArtifactError("UPLOAD_TICKET");
	const length = Number(req.headers["content-length"] ?? Number.NaN);
	if (Number.isNaN(length)) throw new ArtifactError("UPLOAD_LENGTH");
	if (req.headers.expect !== undefined) res.writeContinue();
	const { memory, unfinished } = shared;
	const upload = unfinished.use(ticket.key, ticket.id);
	const keeps = memory.tryTake(length);
	try {
		const piece = new Piece(
			new Intake(req, signal, shared),
			length,
			keeps ? new Kept(memory, length) : undefined,
		);
		const to = { partNumber: String(wanted.data), uploadId: ticket.id };
		const etag = await sendPiece(shared, ticket.key, to, piece, signal);
		answer(req, res, 200, ["Cache-Control", "no-store", "ETag", etag], "");
	} finally {
		if (keeps) memory.give(length);
		unfinished.rest(upload);
	}
}

export async function finish(x: Exchange, shared: Shared, directory: string): Promise<void> {
	const { path: file, upload_id: id, parts } = await body(x, shared, bodies.complete);
	const upload = shared.unfinished.use(keyOf(directory, file), id);
	try {
		const list = parts.map(({ part_number, etag }) => ({
			number: part_number,
			etag: `"${etag.replaceAll('"', "")}"`,
		}));
		await complete(shared, upload, list, x.signal);
		shared.unfinished.over(upload);
	} finally {
		shared.unfinished.rest(upload);
	}
	answer(x.req, x.res, 200, JSON_HEADERS, "{}");
}

export async function abort(x: Exchange, shared: Shared, directory: string): Promise<void> {
	const { path: file, upload_id: id } = await body(x, shared, bodies.abort);
	const { store, limits, unfinished } = shared;
	const upload = unfinished.use(keyOf(directory, file), id);
	try {
		await patiently(x.signal, limits.hold, () => store.abortUpload(upload.key, id, x.signal));
		unfinished.over(upload);
	} finally {
		unfinished.rest(upload);
	}
	answer(x.req, x.res, 200, JSON_HEADERS, "{}");
}
