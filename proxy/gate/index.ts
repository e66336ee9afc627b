/**
 * The gate: everything that can be refused without knowing who asks. It stands before every upstream and
 * every page, and what it lets through has one meaning.
 */
import type { IncomingMessage } from "node:http";
import type { DoorErrorCode } from "../errors.ts";
import type { Hosts } from "../listeners.ts";
import { refusedFraming } from "./framing.ts";
import { plantedCookies, refusedHeaders, refusedHost } from "./headers.ts";
import { canonicalTarget, type Tail, type Target } from "./target.ts";

/** Answers the same to anybody under any name: probes ask for it by address. */
export const HEALTH_PATH = "/door/health";

export interface Refused {
	refused: DoorErrorCode;
	/** The connection must not be used again: where this request ends, and the next begins, is in doubt. */
	close?: boolean;
	/** Cookies to clear, for `HEADER_COOKIE`. */
	planted?: readonly string[];
}

/** @param upgrading the connection is to be switched to WebSocket */
export function gate(
	req: IncomingMessage,
	hosts: Hosts,
	tails: readonly Tail[],
	upgrading = false,
): Target | Refused {
	const refused = refusedHeaders(req) ?? refusedFraming(req, upgrading);
	if (refused !== undefined) return { refused, close: true };
	const target = canonicalTarget(req.method ?? "", req.url ?? "", tails);
	if ("refused" in target) return target;
	if (target.path !== HEALTH_PATH) {
		const stranger = refusedHost(req, hosts);
		if (stranger !== undefined) return { refused: stranger };
	}
	const planted = plantedCookies(req.headers.cookie);
	return planted.length > 0 ? { refused: "HEADER_COOKIE", planted } : target;
}
