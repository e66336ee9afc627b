/**
 * What can go wrong with accounts, as one table. `%s` takes the arguments of `new AccountsError(code, ...)`.
 * Control commands answer with `status` and the three texts; pages show `message` and `fix`.
 */
import { format } from "node:util";

const ERRORS = {
	DATABASE_AWAY: {
		status: 503,
		message: "The accounts database does not answer; nothing was changed for certain.",
		fix: "Try again in a moment. If it stays like this, look at `npx mlgate status`.",
	},
	DATABASE_NEWER: {
		status: 500,
		message: "The accounts database has schema version %s; this door knows versions up to %s.",
		fix: "Start the newer release of mlgate that wrote it, or restore the backup taken before that upgrade.",
	},
	SUPERSEDED: {
		status: 503,
		message: "Another door has taken over the accounts database; this one no longer decides anything.",
		fix: "Stop one of the two doors, then restart the one that stays.",
	},
	BUSY: {
		status: 503,
		message: "Too many changes or passwords are being worked on at once.",
		fix: "Try again in a few seconds.",
	},
	KEY_FILE_MISSING: {
		status: 500,
		message: "The wrapping key %s is missing, but the accounts database holds signing keys wrapped by it.",
		fix: "Put the door's data volume back (or restore its backup): without that file every token and session is lost.",
	},
	KEY_FILE_INVALID: {
		status: 500,
		message: "The wrapping key %s is not 32 bytes long.",
		fix: "Restore that file from the backup of the door's data volume.",
	},
	KEY_FILE_WRONG: {
		status: 500,
		message:
			"The wrapping key %s does not open signing key %s: the file and the database do not belong together.",
		fix: "Restore the door's data volume and its database from the same backup.",
	},
	USER_UNKNOWN: {
		status: 404,
		message: "There is no user %s.",
		fix: "`npx mlgate users list` names them all.",
	},
	USER_EXISTS: {
		status: 409,
		message: "There is already a user %s.",
		fix: "Choose another name, or `npx mlgate users reset` to give that user a new link.",
	},
	USER_NAME: {
		status: 400,
		message:
			"A user name has 1 to 64 of the characters a-z, 0-9, `.`, `_`, `@`, `+`, `-`, and starts and ends with a letter or digit.",
		fix: "Choose a name like `ada` or `ada@example.org`.",
	},
	USER_SYSTEM: {
		status: 409,
		message: "%s is built in: it owns the tokens made from the shell, cannot sign in and cannot be changed.",
		fix: "Name another user.",
	},
	USER_DISABLED: {
		status: 409,
		message: "User %s is disabled.",
		fix: "`npx mlgate users enable` first.",
	},
	USER_CHANGED: {
		status: 409,
		message: "The account changed while you were signing in.",
		fix: "Sign in again.",
	},
	LAST_ADMIN: {
		status: 409,
		message: "%s is the last admin who can sign in.",
		fix: "Make another user admin first.",
	},
	SESSION_OWN: {
		status: 409,
		message: "This is the session that you are in.",
		fix: "Sign out to end it.",
	},
	PASSWORD_POLICY: { status: 400, message: "%s", fix: "Choose another password." },
	PASSWORD_REPEAT: {
		status: 400,
		message: "The two passwords differ.",
		fix: "Type the same password twice.",
	},
	LINK_UNKNOWN: {
		status: 404,
		message: "No such link is known here; a newer one may have taken its place.",
		fix: "Check that it was copied whole, or ask an admin for a new one.",
	},
	LINK_SPENT: {
		status: 410,
		message: "This link was used already. Each works once.",
		fix: "If that was you, sign in. If not, tell an admin.",
	},
	LINK_EXPIRED: {
		status: 410,
		message: "This link has expired. Links work for 24 hours.",
		fix: "Ask an admin for a new one.",
	},
	LINK_ELSEWHERE: {
		status: 403,
		message: "The first admin is made on the machine that runs the stack, not over the network.",
		fix: "Open the same link on that machine, at its localhost address.",
	},
	TOKEN_UNKNOWN: {
		status: 404,
		message: "There is no token %s.",
		fix: "`npx mlgate tokens list` names them all.",
	},
	TOKEN_NAME: {
		status: 400,
		message: "A token name has 1 to 64 printable characters.",
		fix: "Choose a name that says where the token is used, like `ci`.",
	},
	TOKEN_ROLE: {
		status: 409,
		message: "A token cannot do more than its owner: %s is %s, the token was to be %s.",
		fix: "Ask for a lower role, or raise the owner's first.",
	},
	KEYS_NONE_OLDER: {
		status: 409,
		message: "There is no older signing key to retire: the newest is the only one that is believed.",
		fix: "`npx mlgate rotate keys` makes a new one first.",
	},
	SERVICE_NONE: {
		status: 409,
		message: "This door has no folder for the inference API's token.",
		fix: "Set DOOR_SERVICE_FOLDER to a folder that the door may write to.",
	},
	SERVICE_FOLDER: {
		status: 500,
		message: "The inference API's token cannot be written to %s: %s.",
		fix: "Make room there, or let the door write to it; the door tries again by itself.",
	},
	TOKEN_EXPIRY: {
		status: 400,
		message: "The expiry is neither a time to come, a duration nor `never`: %s.",
		fix: "Write a duration (`12h`, `90d`, `52w`), an ISO 8601 time, or `never`.",
	},
} as const satisfies Record<string, { status: number; message: string; fix: string }>;

export type AccountsErrorCode = keyof typeof ERRORS;

export class AccountsError extends Error {
	override readonly name = "AccountsError";
	readonly code: AccountsErrorCode;
	/** HTTP status of the answer. */
	readonly status: number;
	/** The one thing to do. */
	readonly fix: string;

	constructor(code: AccountsErrorCode, ...args: (string | number)[]) {
		super(args.length > 0 ? format(ERRORS[code].message, ...args) : ERRORS[code].message);
		this.code = code;
		this.status = ERRORS[code].status;
		this.fix = ERRORS[code].fix;
	}

	/** The same error, with what lies behind it kept for the log. */
	because(cause: unknown): this {
		this.cause = cause;
		return this;
	}
}
