/** What artifacts are refused for or fail at, and the answers themselves. */
import type { IncomingMessage, ServerResponse } from "node:http";
import { linger } from "../answer.ts";
import { DOOR_ERRORS, type DoorErrorCode } from "../errors.ts";
import { OWN_HEADERS, SAFE_HEADERS } from "../safety.ts";

/** Answered with its row. */
export class ArtifactError extends Error {
	override readonly name = "ArtifactError";
	readonly code: DoorErrorCode;
	/** Appended to the row's message. */
	readonly detail: string | undefined;
	/** Further response headers, names and values in turn. */
	readonly headers: readonly string[];

	constructor(
		code: DoorErrorCode,
		{ detail, headers = [], cause }: { detail?: string; headers?: readonly string[]; cause?: unknown } = {},
	) {
		super(DOOR_ERRORS[code].message, { cause });
		this.code = code;
		this.detail = detail;
		this.headers = headers;
	}
}

/** Sends a whole answer. Does nothing for a client that has left, and cuts an answer that has begun. */
export function answer(
	req: IncomingMessage,
	res: ServerResponse,
	status: number,
	headers: readonly string[],
	body: string | Buffer,
): void {
	if (res.destroyed || res.closed || res.socket?.destroyed !== false) return;
	if (res.headersSent) {
		res.destroy();
		return;
	}
	const bytes = typeof body === "string" ? Buffer.from(body) : body;
	const all = [...SAFE_HEADERS, ...headers, "Content-Length", String(bytes.length)];
	// Whether a client that waits for `100 Continue` still sends its body cannot be known.
	if (req.headers.expect !== undefined && !req.complete) all.push("Connection", "close");
	res.writeHead(status, all);
	res.end(bytes);
	linger(req);
}

export const JSON_HEADERS = [
	...OWN_HEADERS.slice(SAFE_HEADERS.length),
	"Content-Type",
	"application/json",
] as const;

export function answerError(req: IncomingMessage, res: ServerResponse, error: ArtifactError): void {
	const { status, errorCode, message } = DOOR_ERRORS[error.code];
	const text = error.detail === undefined ? message : `${message}: ${error.detail}`;
	const body = `${JSON.stringify({ error_code: errorCode, message: text })}\n`;
	answer(req, res, status, [...JSON_HEADERS, "X-Door-Error", error.code, ...error.headers], body);
}
