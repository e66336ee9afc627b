/**
 * Everything the door itself refuses or fails at, as one table: HTTP status, MLflow's name for the kind of
 * error (MLflow's clients know these and no others) and the words for the caller.
 * Every such answer has the body `{"error_code", "message"}` and names its row in the header `X-Door-Error`,
 * which also tells it from an answer of MLflow.
 */
import type { Role } from "./roles.ts";

export interface DoorError {
	readonly status: number;
	/** A name of MLflow's `ErrorCode` (databricks.proto). */
	readonly errorCode: string;
	readonly message: string;
	/** Seconds. MLflow's clients try five times: below 15 they give up sooner than without it. */
	readonly retryAfter?: number;
}

/** MLflow's own answer to a path it does not like, word for word: its tests compare the whole body. */
const PATH = { status: 400, errorCode: "INVALID_PARAMETER_VALUE", message: "Invalid path" } as const;

const badRequest = (message: string) => ({ status: 400, errorCode: "BAD_REQUEST", message }) as const;
const invalid = (message: string) =>
	({ status: 400, errorCode: "INVALID_PARAMETER_VALUE", message }) as const;
const missing = (message: string) =>
	({ status: 404, errorCode: "RESOURCE_DOES_NOT_EXIST", message }) as const;
const unauthenticated = (message: string) =>
	({ status: 401, errorCode: "UNAUTHENTICATED", message }) as const;
const denied = (message: string) => ({ status: 403, errorCode: "PERMISSION_DENIED", message }) as const;
const unavailable = (message: string) =>
	({ status: 503, errorCode: "TEMPORARILY_UNAVAILABLE", message }) as const;

export const DOOR_ERRORS = {
	// The request target
	TARGET_FORM: PATH,
	TARGET_CHARACTER: PATH,
	TARGET_BACKSLASH: PATH,
	TARGET_FRAGMENT: PATH,
	TARGET_ENCODING: PATH,
	TARGET_ENCODED_SLASH: PATH,
	TARGET_NOT_CANONICAL: PATH,
	TARGET_EMPTY_SEGMENT: PATH,
	TARGET_DOT_SEGMENT: PATH,
	TARGET_PARAMETERS: PATH,
	ARTIFACT_EMPTY: PATH,
	ARTIFACT_AMBIGUOUS: PATH,
	QUERY_ENCODING: { ...PATH, message: "The query string is not percent-encoded UTF-8" },

	// Headers and framing
	METHOD_UNKNOWN: { status: 405, errorCode: "BAD_REQUEST", message: "This method is not known here" },
	HTTP_VERSION: badRequest("Only HTTP/1.1 is spoken here"),
	HEADER_UNDERSCORE: badRequest("Header names with an underscore are refused"),
	HEADER_DUPLICATE: badRequest("A header that must occur once occurs twice"),
	HEADER_COOKIE: badRequest(
		"A cookie that MLflow's pages would turn into a request header was planted. It is being cleared.",
	),
	HOST_UNKNOWN: badRequest("The Host header names none of this server's names"),
	GATEWAY_ONLY: denied("This address answers the stack's own node in the tailnet and nobody else."),
	CONNECTION_OPTION: badRequest("The Connection header may say keep-alive or close only"),
	UPGRADE_REFUSED: badRequest("Protocol upgrades are refused"),
	BODY_REFUSED: badRequest("This method takes no body"),
	BODY_CHUNKED: badRequest("Only POST, PUT and PATCH take a chunked body; others need Content-Length"),
	BODY_CODING: badRequest("The only Transfer-Encoding taken is chunked"),
	BODY_LENGTH: badRequest("Content-Length is not a plain number, or comes with Transfer-Encoding"),
	EXPECT_UNKNOWN: { status: 417, errorCode: "BAD_REQUEST", message: "The only Expect taken is 100-continue" },
	REQUEST_MALFORMED: badRequest("This is not a well-formed HTTP/1.1 request"),
	HEADERS_TOO_LARGE: {
		status: 431,
		errorCode: "BAD_REQUEST",
		message: "The request's headers are too large",
	},
	REQUEST_TIMEOUT: { status: 408, errorCode: "BAD_REQUEST", message: "The request did not arrive in time" },

	// Credentials. `Verdict.reason` and `Authority.checkCsrf` name these rows.
	NO_CREDENTIAL: unauthenticated("Sign in, or send an API token."),
	CREDENTIAL_REFUSED: unauthenticated("This credential is not valid here."),
	CREDENTIAL_ENDED: unauthenticated("This credential was revoked or has expired."),
	AUTHORIZATION_SCHEME: unauthenticated(
		"Authorization must be `Bearer <token>` or `Basic` with a token or password.",
	),
	AUTHORIZATION_UNREADABLE: unauthenticated("The Authorization header cannot be read."),
	TOKEN_MALFORMED: unauthenticated("This is not an API token of this door."),
	TOKEN_INVALID: unauthenticated("This API token was not issued by this door."),
	TOKEN_UNKNOWN: unauthenticated("This API token is not known here."),
	TOKEN_EXPIRED: unauthenticated("This API token has expired."),
	TOKEN_REVOKED: unauthenticated("This API token was revoked."),
	USER_DISABLED: unauthenticated("The owner of this credential is disabled."),
	PASSWORD_WRONG: unauthenticated("Wrong user name or password."),
	SESSION_INVALID: unauthenticated("This session is not valid. Sign in again."),
	SESSION_ENDED: unauthenticated("This session was ended. Sign in again."),
	SESSION_IDLE: unauthenticated("This session was idle for too long. Sign in again."),
	SESSION_EXPIRED: unauthenticated("This session has reached its greatest age. Sign in again."),
	SIGN_IN_LIMITED: {
		status: 429,
		errorCode: "REQUEST_LIMIT_EXCEEDED",
		message: "Too many wrong passwords. Wait a while.",
		retryAfter: 30,
	},
	TOO_MANY_REQUESTS: {
		status: 429,
		errorCode: "REQUEST_LIMIT_EXCEEDED",
		message:
			"This credential has sent more requests than one may. Wait a little; MLflow's client does by itself.",
		retryAfter: 15,
	},
	SIGN_IN_BUSY: unavailable("Too many sign-ins at once. Try again in a few seconds."),
	COOKIE_AMBIGUOUS: badRequest(
		"The browser sent two different session cookies. Clear the cookies of this site.",
	),
	CSRF_ORIGIN: denied("This request was sent by a page of another site."),
	CSRF_TOKEN: denied(
		"The X-CSRF-Token header is missing or does not belong to this session. Reload the page.",
	),
	SUPERSEDED: unavailable("Another door has taken over. This one decides nothing any more."),
	DOOR_ERROR: {
		status: 500,
		errorCode: "INTERNAL_ERROR",
		message: "The door could not check this credential.",
	},

	// Roles and routes
	ROUTE_UNKNOWN: denied("There is no such route, or nobody may use it."),
	ROLE_VIEWER: denied("This needs the role viewer."),
	ROLE_EDITOR: denied("This needs the role editor or admin."),
	ROLE_ADMIN: denied("This needs the role admin."),
	SCOPE_MODELS: denied(
		"This token is for loading models only: it reads registered models and their artifacts, and nothing else.",
	),
	ARTIFACT_LOCATION: denied(
		"An artifact_location needs the role admin. Leave it out for the stack's own store.",
	),
	MODEL_SOURCE: denied(
		"A source outside the tracked artifacts (mlflow-artifacts:/, runs:/, models:/) needs the role admin.",
	),
	BODY_JSON: { ...PATH, message: "The body must be a JSON object in UTF-8" },
	BODY_AMBIGUOUS: {
		...PATH,
		message: "The body has a name twice in one object, or one that no field has, or is nested too deep",
	},
	BODY_TOO_LARGE: { ...PATH, message: "The body is too large for this route" },
	TOO_MANY_ROWS: {
		...PATH,
		message: "max_results must be a plain whole number of at most 10000. Ask for the rest with page_token.",
	},
	QUERY_AMBIGUOUS: {
		...PATH,
		message: "A query parameter of this route occurs twice or is spelled otherwise",
	},
	RUN_IDS: invalid(
		"Name each run as run_id=<its id, 32 hexadecimal digits in lower case>, at least one, and nothing else.",
	),
	TOO_MANY_RUNS: invalid("At most 200 runs can be asked for at once. Ask for the others in another request."),
	GRAPHQL_READ_ONLY: denied("GraphQL is for reading here: one query and nothing else."),
	GRAPHQL_QUERY: {
		...PATH,
		message: "GraphQL takes one query here, without fragments, directives on fields, or introspection",
	},
	GRAPHQL_LIMIT: {
		...PATH,
		message: "This GraphQL query is longer, deeper or asks for more than is allowed",
	},
	MODEL_FILE_CODE: denied(
		"This MLmodel file has YAML tags that MLflow's pages would run as code. Download the model to look at it.",
	),
	HEAD_DOWNLOAD: {
		status: 405,
		errorCode: "BAD_REQUEST",
		message: "HEAD would fetch the whole artifact to answer. Use GET.",
	},
	/** Word for word what makes MLflow's clients fall back to one plain PUT. */
	MULTIPART_UNSUPPORTED: {
		status: 501,
		errorCode: "NOT_IMPLEMENTED",
		message: "Multipart upload is not supported for the current artifact repository",
	},

	// Artifacts, which the door takes from the object store and puts there itself
	ARTIFACT_PATH: invalid("Invalid path"),
	ARTIFACT_MISSING: missing("No such artifact"),
	ARTIFACT_DIRECTORY: missing("This is a directory. List it, and download what is in it"),
	ARTIFACT_PRECONDITION: {
		status: 412,
		errorCode: "BAD_REQUEST",
		message: "The artifact is a different one",
	},
	ARTIFACT_RANGE: { status: 416, errorCode: "BAD_REQUEST", message: "The artifact has no such bytes" },
	ARTIFACT_CHANGING: unavailable("The artifact is being overwritten. Try again in a moment."),
	ARTIFACT_NAME: invalid("The store cannot keep an artifact of this name"),
	ARTIFACT_IDLE: { status: 408, errorCode: "BAD_REQUEST", message: "The artifact did not arrive in time" },
	ARTIFACT_TOO_LARGE: {
		status: 413,
		errorCode: "BAD_REQUEST",
		message: "Too large for an upload that does not announce its length. Send Content-Length.",
	},
	UPLOAD_JSON: invalid("The body is not the JSON object that belongs here"),
	UPLOAD_LENGTH: {
		status: 411,
		errorCode: "BAD_REQUEST",
		message: "A part must announce its length with Content-Length",
	},
	UPLOAD_UNKNOWN: missing("This multipart upload is not known, was aborted, or has been idle for too long"),
	UPLOAD_PARTS: invalid("The parts are not those that were uploaded"),
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
	AUDIT_FULL: unavailable(
		"The door cannot put down who changes what, so nothing is changed. Its log says why. Try again in a moment.",
	),

	// What lies behind the door
	UPSTREAM_UNAVAILABLE: unavailable("The tracking server does not answer. Try again in a moment."),
	HOLD_LATE: unavailable(
		"A part of this stack is away, longer than a request can wait. Try again in a moment.",
	),
	DATABASE_TROUBLE: unavailable("The tracking server has lost its database. Try again in a moment."),
	DATABASE_FULL: unavailable(
		"The disk of the tracking server's database is full. Try again when there is room on it.",
	),
	HOLD_FULL: {
		...unavailable("A part of this stack is away, and too many requests wait for it. Try again in a moment."),
		retryAfter: 15,
	},
	UPSTREAM_TIMEOUT: unavailable("The tracking server took too long to answer."),

	// The inference API
	API_NONE: unavailable("This stack runs no inference API."),
	API_UNAVAILABLE: {
		...unavailable("The inference API does not answer. Try again in a moment."),
		retryAfter: 5,
	},
	API_TIMEOUT: unavailable("The inference API took too long to answer."),
	API_BUSY: {
		status: 429,
		errorCode: "REQUEST_LIMIT_EXCEEDED",
		message: "Too many requests to the inference API at once. Try again in a moment.",
		retryAfter: 2,
	},
	API_ANSWER: {
		status: 502,
		errorCode: "INTERNAL_ERROR",
		message:
			"The inference API's answer cannot be passed on: it is not well-formed HTTP, or leads elsewhere.",
	},
	API_NO_CODE: denied("What the inference API serves is no script, style or plug-in of this site."),

	CLIENT_IDLE: {
		status: 408,
		errorCode: "BAD_REQUEST",
		message: "The request's body did not arrive in time",
	},
	INTERNAL: { status: 500, errorCode: "INTERNAL_ERROR", message: "The door failed to handle this request." },
} as const satisfies Record<string, DoorError>;

export type DoorErrorCode = keyof typeof DOOR_ERRORS;

/** The row for a role that is too low. */
export const ROLE_TOO_LOW: Readonly<Record<Role, DoorErrorCode>> = {
	viewer: "ROLE_VIEWER",
	editor: "ROLE_EDITOR",
	admin: "ROLE_ADMIN",
};

/** The row that answers a reason of the authority. */
export const refusal = (reason: string, otherwise: DoorErrorCode): DoorErrorCode =>
	Object.hasOwn(DOOR_ERRORS, reason) ? (reason as DoorErrorCode) : otherwise;
