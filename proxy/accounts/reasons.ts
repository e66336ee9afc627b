/**
 * Why a request's credential was refused, as one table: the HTTP status that fits and words for people.
 * These are the values of `Verdict.reason` and of `Authority.checkCsrf`.
 */

export const REASONS = {
	NO_CREDENTIAL: { status: 401, message: "Sign in, or send an API token." },
	AUTHORIZATION_SCHEME: {
		status: 401,
		message: "Authorization must be `Bearer <token>` or `Basic` with a token or password.",
	},
	AUTHORIZATION_UNREADABLE: { status: 401, message: "The Authorization header cannot be read." },
	TOKEN_MALFORMED: { status: 401, message: "This is not an API token of this door." },
	TOKEN_INVALID: { status: 401, message: "This API token was not issued by this door." },
	TOKEN_UNKNOWN: { status: 401, message: "This API token is not known here." },
	TOKEN_EXPIRED: { status: 401, message: "This API token has expired." },
	TOKEN_REVOKED: { status: 401, message: "This API token was revoked." },
	USER_DISABLED: { status: 401, message: "The owner of this credential is disabled." },
	PASSWORD_WRONG: { status: 401, message: "Wrong user name or password." },
	SIGN_IN_LIMITED: { status: 429, message: "Too many wrong passwords. Wait a while." },
	SIGN_IN_BUSY: { status: 503, message: "Too many sign-ins at once. Try again in a few seconds." },
	SESSION_INVALID: { status: 401, message: "This session is not valid. Sign in again." },
	SESSION_ENDED: { status: 401, message: "This session was ended. Sign in again." },
	SESSION_IDLE: { status: 401, message: "This session was idle for too long. Sign in again." },
	SESSION_EXPIRED: { status: 401, message: "This session has reached its greatest age. Sign in again." },
	COOKIE_AMBIGUOUS: {
		status: 400,
		message: "The browser sent two different session cookies. Clear the cookies of this site.",
	},
	HEADER_COOKIE: {
		status: 400,
		message:
			"A cookie that MLflow's pages would turn into a request header was planted. It is being cleared.",
	},
	CSRF_ORIGIN: { status: 403, message: "This request was sent by a page of another site." },
	CSRF_TOKEN: {
		status: 403,
		message: "The X-CSRF-Token header is missing or does not belong to this session. Reload the page.",
	},
	SUPERSEDED: { status: 503, message: "Another door has taken over. This one decides nothing any more." },
	DOOR_ERROR: { status: 500, message: "The door could not check this credential." },
} as const satisfies Record<string, { status: number; message: string }>;

export type Reason = keyof typeof REASONS;
