/**
 * How long is this request, and could anybody behind us think otherwise? Chunked bodies of methods that
 * proxies expect none of were how hidden requests got through others (CVE-2026-29057).
 */
import type { IncomingMessage } from "node:http";
import type { DoorErrorCode } from "../errors.ts";

/** What each known method may carry. */
const BODY: Readonly<Record<string, "none" | "length" | "any">> = {
	GET: "none",
	HEAD: "none",
	OPTIONS: "none",
	/** MLflow's carry small JSON bodies. */
	DELETE: "length",
	POST: "any",
	PUT: "any",
	PATCH: "any",
};

const CONNECTION_OPTIONS = new Set(["keep-alive", "close", "te"]);

/** Whether a request has a body still to come. For a request that `refusedFraming` has passed. */
export const hasBody = ({ headers }: IncomingMessage): boolean =>
	headers["transfer-encoding"] !== undefined || Number(headers["content-length"] ?? 0) > 0;

/** 16 bytes in base64 (RFC 6455, 4.1). */
const WEBSOCKET_KEY = /^[A-Za-z0-9+/]{21}[AQgw]==$/;

/** What else a request must be that asks to switch to WebSocket: RFC 6455, and nothing that carries a body. */
function refusedUpgrade({ method, headers }: IncomingMessage): DoorErrorCode | undefined {
	const whole =
		method === "GET" &&
		headers.upgrade?.toLowerCase() === "websocket" &&
		headers["sec-websocket-version"] === "13" &&
		WEBSOCKET_KEY.test(headers["sec-websocket-key"] ?? "") &&
		headers["content-length"] === undefined &&
		headers["transfer-encoding"] === undefined &&
		headers.expect === undefined;
	return whole ? undefined : "UPGRADE_REFUSED";
}

/**
 * @param upgrading the server has taken this request off HTTP's hands to switch its connection to WebSocket
 * @returns the code of what is wrong with method, version or framing, if anything
 */
export function refusedFraming(req: IncomingMessage, upgrading = false): DoorErrorCode | undefined {
	const { headers } = req;
	const method = req.method ?? "";
	if (req.httpVersion !== "1.1") return "HTTP_VERSION";
	const body = Object.hasOwn(BODY, method) ? BODY[method] : undefined;
	if (body === undefined) return "METHOD_UNKNOWN";
	if (upgrading) {
		const refused = refusedUpgrade(req);
		if (refused !== undefined) return refused;
	} else if (headers.upgrade !== undefined) return "UPGRADE_REFUSED";
	if (headers.connection !== undefined) {
		for (const option of headers.connection.split(",")) {
			const name = option.trim().toLowerCase();
			if (name === "upgrade") {
				if (!upgrading) return "UPGRADE_REFUSED";
			} else if (!CONNECTION_OPTIONS.has(name)) return "CONNECTION_OPTION";
		}
	}
	const length = headers["content-length"];
	const coding = headers["transfer-encoding"];
	if (length !== undefined) {
		if (!/^\d{1,15}$/.test(length) || coding !== undefined) return "BODY_LENGTH";
		if (body === "none" && Number(length) > 0) return "BODY_REFUSED";
	}
	if (coding !== undefined) {
		if (body !== "any") return body === "none" ? "BODY_REFUSED" : "BODY_CHUNKED";
		if (coding.toLowerCase() !== "chunked") return "BODY_CODING";
	}
	if (headers.expect !== undefined) {
		if (headers.expect.toLowerCase() !== "100-continue" || !hasBody(req)) return "EXPECT_UNKNOWN";
	}
	return undefined;
}
