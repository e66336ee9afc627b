/** Answers of the pages: always framed and guarded the same way, and never an exception for a client that left. */
import type { IncomingMessage, ServerResponse } from "node:http";
import { pipeline, Readable } from "node:stream";
import type { Identity } from "../authority.ts";

/** Somebody was refused; for the audit trail. */
export interface Refused {
	/** A code of `errors.ts` or of the accounts' errors. */
	reason: string;
	/** Whoever it was, if that is known. */
	identity?: Identity;
}

/**
 * No script, nothing from elsewhere, no frame round it, forms to ourselves alone.
 * `Referrer-Policy: same-origin` and not `no-referrer`: under that, browsers send `Origin: null` with our own
 * forms, which then look like another site's.
 */
const GUARDS = {
	"content-security-policy":
		"default-src 'none'; style-src 'self'; img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
	"cross-origin-opener-policy": "same-origin",
	"cross-origin-resource-policy": "same-origin",
	"permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
	"referrer-policy": "same-origin",
	"x-content-type-options": "nosniff",
	"x-frame-options": "DENY",
} as const;

export interface Answer {
	status: number;
	body?: string | Buffer;
	/** `text/html; charset=utf-8` if left out. */
	type?: string;
	/** `no-store` if left out. */
	cache?: string;
	location?: string;
	cookies?: readonly string[];
	/** Seconds. */
	retryAfter?: number;
	allow?: string;
	/** The name of a file that a browser keeps the answer as. */
	download?: string;
	/** A body that is made while it is sent; instead of `body`. */
	pieces?: AsyncIterable<string>;
	refused?: Refused;
}

/** @param failed told when a body made while it is sent could not be made to its end; the connection is cut then */
export function respond(
	req: IncomingMessage,
	res: ServerResponse,
	answer: Answer,
	failed: (error: Error | null | undefined) => void = () => {},
): void {
	if (res.headersSent || res.destroyed) return;
	const body = Buffer.from(answer.body ?? "");
	const headers: Record<string, string | number | readonly string[]> = {
		...GUARDS,
		"cache-control": answer.cache ?? "no-store",
	};
	if (answer.pieces === undefined) headers["content-length"] = body.length;
	if (answer.download !== undefined)
		headers["content-disposition"] = `attachment; filename="${answer.download}"`;
	if (body.length > 0 || answer.pieces !== undefined)
		headers["content-type"] = answer.type ?? "text/html; charset=utf-8";
	if (answer.location !== undefined) headers.location = answer.location;
	if (answer.allow !== undefined) headers.allow = answer.allow;
	if (answer.retryAfter !== undefined) headers["retry-after"] = answer.retryAfter;
	// An Authorization request never gets a cookie: Python's `requests` would keep it and send it for another user.
	if (answer.cookies?.length && req.headers.authorization === undefined)
		headers["set-cookie"] = answer.cookies;
	// What was not read of a body would be taken for the next request.
	const hasBody =
		req.headers["transfer-encoding"] !== undefined || Number(req.headers["content-length"] ?? 0) > 0;
	if (hasBody && !req.complete) headers.connection = "close";
	res.writeHead(answer.status, headers as Record<string, string>);
	if (answer.pieces === undefined || req.method === "HEAD") res.end(req.method === "HEAD" ? undefined : body);
	else pipeline(Readable.from(answer.pieces), res, failed);
}
