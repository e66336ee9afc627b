/**
 * Why a request's credential was refused: the rows of the table of errors that `Verdict.reason` and
 * `Authority.checkCsrf` name.
 */
import { DOOR_ERRORS, type DoorError, type DoorErrorCode } from "../errors.ts";

const NAMES = [
	"NO_CREDENTIAL",
	"AUTHORIZATION_SCHEME",
	"AUTHORIZATION_UNREADABLE",
	"TOKEN_MALFORMED",
	"TOKEN_INVALID",
	"TOKEN_UNKNOWN",
	"TOKEN_EXPIRED",
	"TOKEN_REVOKED",
	"USER_DISABLED",
	"PASSWORD_WRONG",
	"SIGN_IN_LIMITED",
	"SIGN_IN_BUSY",
	"SESSION_INVALID",
	"SESSION_ENDED",
	"SESSION_IDLE",
	"SESSION_EXPIRED",
	"COOKIE_AMBIGUOUS",
	"HEADER_COOKIE",
	"CSRF_ORIGIN",
	"CSRF_TOKEN",
	"SUPERSEDED",
	"DOOR_ERROR",
] as const satisfies readonly DoorErrorCode[];

export type Reason = (typeof NAMES)[number];

export const REASONS = Object.fromEntries(NAMES.map((name) => [name, DOOR_ERRORS[name]])) as Readonly<
	Record<Reason, DoorError>
>;
