/**
 * Everything that artifacts are refused for or fail at, in the shape of the door's own table (`../errors.ts`),
 * and the answers themselves.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import { linger, SAFE_HEADERS } from "../answer.ts";
import type { DoorError } from "../errors.ts";

const missing = (message: string) =>
	({ status: 404, errorCode: "RESOURCE_DOES_NOT_EXIST", message }) as const;
const wrong = (message: string) => ({ status: 400, errorCode: "INVALID_PARAMETER_VALUE", message }) as const;
const unavailable = (message: string) =>
	({ status: 503, errorCode: "TEMPORARILY_UNAVAILABLE", message }) as const;

export const ARTIFACT_ERRORS = {
	ARTIFACT_PATH: wrong("Invalid path"),
	ARTIFACT_MISSING: missing("No such artifact"),
	ARTIFACT_DIRECTORY: missing("This is a directory. List it, and download what is in it"),
	ARTIFACT_PRECONDITION: {
		status: 412,
		errorCode: "BAD_REQUEST",
		message: "The artifact is a different one",
	},
	ARTIFACT_RANGE: { status: 416, errorCode: "BAD_REQUEST", message: "The artifact has no such bytes" },
	ARTIFACT_CHANGING: unavailable("The artifact is being overwritten. Try again in a moment."),
	ARTIFACT_NAME: wrong("The store cannot keep an artifact of this name"),
	ARTIFACT_IDLE: { status: 408, errorCode: "BAD_REQUEST", message: "The artifact did not arrive in time" },
	ARTIFACT_TOO_LARGE: {
		status: 413,
		errorCode: "BAD_REQUEST",
		message: "Too large for an upload that does not announce its length. Send Content-Length.",
	},
	BODY_JSON: wrong("The body is not the JSON object that belongs here"),
	BODY_LENGTH: {
		status: 411,
		errorCode: "BAD_REQUEST",
		message: "A part must announce its length with Content-Length",
	},
	UPLOAD_UNKNOWN: missing("This multipart upload is not known, was aborted, or has been idle for too long"),
	UPLOAD_PARTS: wrong("The parts are not those that were uploaded"),
	UPLOAD_TICKET: {
		status: 403,
		errorCode: "PERMISSION_DENIED",
		message: "The upload ticket is not valid, or has expired",
	},
	STORE_UNAVAILABLE: unavailable("The artifact store does not answer. Try again in a moment."),
	STORE_LOST: unavailable("The artifact store was lost in the middle of an upload. Send it again."),
	STORE_CHECKSUM: unavailable("What the store received is not what was sent. Send it again."),
	STORE_FULL: { status: 507, errorCode: "RESOURCE_EXHAUSTED", message: "The artifact store is full" },
	STORE_REFUSED: { status: 500, errorCode: "INTERNAL_ERROR", message: "The artifact store refused the door" },
} as const satisfies Record<string, DoorError>;

export type ArtifactErrorCode = keyof typeof ARTIFACT_ERRORS;

/** Answered with its row. */
export class ArtifactError extends Error {
	override readonly name = "ArtifactError";
	readonly code: ArtifactErrorCode;
	/** Appended to the row's message. */
	readonly detail: string | undefined;
	/** Further response headers, names and values in turn. */
	readonly headers: readonly string[];

	constructor(
		code: ArtifactErrorCode,
		{ detail, headers = [], cause }: { detail?: string; headers?: readonly string[]; cause?: unknown } = {},
	) {
		super(ARTIFACT_ERRORS[code].message, { cause });
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

export const JSON_HEADERS = ["Cache-Control", "no-store", "Content-Type", "application/json"] as const;

export function answerError(req: IncomingMessage, res: ServerResponse, error: ArtifactError): void {
	const { status, errorCode, message } = ARTIFACT_ERRORS[error.code];
	const text = error.detail === undefined ? message : `${message}: ${error.detail}`;
	const body = `${JSON.stringify({ error_code: errorCode, message: text })}\n`;
	answer(req, res, status, [...JSON_HEADERS, "X-Door-Error", error.code, ...error.headers], body);
}
