/**
 * Headers that cross the door, in both directions by allow-list. They are made before the upstream request
 * exists, and nothing edits them afterwards.
 */
import type { IncomingHttpHeaders } from "node:http";
import type { Safety } from "../safety.ts";

/**
 * What MLflow reads. Never credentials, cookies, names of identity, encodings (MLflow compresses nothing), or
 * hop-by-hop headers; the framing is ours.
 */
const TO_UPSTREAM = [
	"accept",
	"content-type",
	"if-match",
	"if-modified-since",
	"if-none-match",
	"if-range",
	"if-unmodified-since",
	"range",
	"user-agent",
] as const;

/** @returns a flat list of names and values */
export function headersToUpstream(headers: IncomingHttpHeaders): string[] {
	const list: string[] = [];
	for (const name of TO_UPSTREAM) {
		const value = headers[name];
		if (typeof value === "string") list.push(name, value);
	}
	return list;
}

/**
 * What MLflow says about its answers. Not where it runs (Server, Location with our inner names), no cookies,
 * nothing about the connection.
 */
const FROM_UPSTREAM = new Set([
	"accept-ranges",
	"allow",
	"cache-control",
	"content-disposition",
	"content-encoding",
	"content-language",
	"content-length",
	"content-range",
	"content-type",
	"etag",
	"expires",
	"last-modified",
	"retry-after",
	"vary",
]);

/**
 * @param raw names and values as bytes; they go out as the same bytes
 * @param status nothing but a success is kept, whatever may be said of the success
 * @returns a flat list
 */
export function headersFromUpstream(
	raw: readonly (Buffer | string)[],
	status: number,
	safety: Safety,
): string[] {
	const list: string[] = [...safety.headers];
	const cache = status < 400 ? safety.cache : undefined;
	let [cached, attached] = [cache !== undefined, safety.attachment !== true];
	for (let i = 0; i + 1 < raw.length; i += 2) {
		const name = (raw[i] ?? "").toString("latin1").toLowerCase();
		if (!FROM_UPSTREAM.has(name)) continue;
		if (name === "cache-control") {
			if (cache !== undefined) continue;
			cached = true;
		} else if (name === "content-disposition") {
			attached = true;
		}
		list.push(name, (raw[i + 1] ?? "").toString("latin1"));
	}
	if (cache !== undefined) list.push("Cache-Control", cache);
	// People's data, and who may see it changes: nobody keeps it unless MLflow says so.
	if (!cached) list.push("Cache-Control", "no-store");
	if (!attached) list.push("Content-Disposition", "attachment");
	return list;
}
