/** How `/inference/*` says no: in MLflow's JSON to programs, as a page of the door to somebody at a browser. */
import { refuse } from "../answer.ts";
import type { Allowed } from "../answerer.ts";
import { DOOR_ERRORS, type DoorError, type DoorErrorCode } from "../errors.ts";
import { layout, message } from "../pages/layout.ts";
import { respond } from "../pages/respond.ts";
import { isNavigation } from "../pipeline.ts";

const TITLES: Partial<Record<DoorErrorCode, string>> = {
	API_NONE: "No inference API",
	API_UNAVAILABLE: "The inference API is away",
	API_TIMEOUT: "The inference API is too slow",
	API_BUSY: "Too many requests at once",
	API_ANSWER: "This answer stays here",
};

export type Refuse = (allowed: Allowed, code: DoorErrorCode) => void;

/** @param stack the stack's name, for pages */
export const refuser =
	(stack: string): Refuse =>
	({ req, res, target, refused }, code) => {
		if (!res.headersSent) refused(code);
		const title = TITLES[code];
		if (title === undefined || res.headersSent || !isNavigation(req, target.path)) {
			refuse(req, res, code);
			return;
		}
		const { status, message: text, retryAfter }: DoorError = DOOR_ERRORS[code];
		const page = message(title, [text], { href: "/", label: "To MLflow" });
		respond(req, res, {
			status,
			body: layout(stack, page),
			...(retryAfter === undefined ? {} : { retryAfter }),
		});
	};
