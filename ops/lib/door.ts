/** The door's control commands: `docker exec` into its container, JSON in and out. No port, no token. */
import type { Part } from "../../infra/contract.ts";
import { containerOf, failed, start } from "./docker.ts";
import { type ExitKind, OpsError } from "./errors.ts";

export type Role = "viewer" | "editor" | "admin";
export const ROLES = ["viewer", "editor", "admin"] as const satisfies readonly Role[];

/** One deep look at something behind the door. */
export interface Check {
	name: string;
	ok: boolean;
	/** How long it took, milliseconds. */
	ms: number;
	detail?: string;
}

/** What the door tells about a user. Times are ISO 8601. */
export interface DoorUser {
	id: string;
	name: string;
	role: Role;
	/** `invited`: has not chosen a password yet. `system`: built in, cannot sign in. */
	state: "active" | "invited" | "disabled" | "system";
	created: string;
	lastSeen: string | null;
}

/** What the door tells about a token. Times are ISO 8601; null: never. */
export interface DoorToken {
	id: string;
	name: string;
	role: Role;
	/** `models`: held to models and their artifacts, whatever the role. */
	scope: "all" | "models";
	/** The owner. */
	user: string;
	state: "active" | "expired" | "revoked" | "owner disabled";
	created: string;
	createdBy: string;
	expires: string | null;
	lastUsed: string | null;
	lastAddress: string | null;
}

/** A key that signs tokens and sessions, or is still believed. Times are ISO 8601. */
export interface DoorKey {
	id: string;
	state: "signs" | "believed";
	created: string;
	/** When it ends by itself; null: not before it is retired. */
	until: string | null;
	/** Signed by it, neither revoked nor expired; without the inference API's own. */
	tokens: number;
	sessions: number;
}

/** A path with a one-time code. Whoever has it can act once: it is printed to the terminal and nowhere else. */
export interface OneTimeLink {
	path: string;
	/** ISO time. */
	expires: string;
}

/** The parts that the door can hold requests for. `postgres` holds what MLflow answers, too. */
export const HELD_PARTS = ["mlflow", "minio", "postgres", "api"] as const satisfies readonly Part[];
export type HeldPart = (typeof HELD_PARTS)[number];

/** Whether requests can wait for a part: nobody asks for the others through the door. */
export const isHeldPart = (part: Part): part is HeldPart => HELD_PARTS.some((held) => held === part);

export interface Drained {
	part: HeldPart;
	/** Whether everything that needs the part has finished; if not, so many requests have not. */
	drained: boolean;
	running: number;
	waitedMs: number;
}

export interface Released {
	part: HeldPart;
	/** Whether the part answers. If not, requests are still held until it does. */
	healthy: boolean;
	heldMs: number;
	/** Requests that waited, the longest wait of one, and those that were refused after all. */
	held: number;
	longestMs: number;
	refused: number;
}

export type Hold = {
	/** ISO time. */
	since: string;
	/** Requests that wait now. */
	waiting: number;
} & (
	| { part: HeldPart; reason: "announced" | "unannounced" }
	/** The door's own way to the database, found to be away: only creates wait. */
	| { part: "door-database"; reason: "unannounced" }
);

type Named = { name: string };

/** What each control command takes and gives (`proxy/control/commands.ts`). */
export interface ControlCommands {
	status: { body: undefined; answer: { ok: boolean; checks: Check[] } };
	"funnel/name": { body: { host?: string | null }; answer: { host: string | null; before: string | null } };
	"first-admin": { body: undefined; answer: { needed: boolean } & Partial<OneTimeLink> };
	"users/add": {
		body: Named & { role: Role; password?: string };
		answer: { user: DoorUser } & Partial<OneTimeLink>;
	};
	"users/list": { body: undefined; answer: { users: DoorUser[] } };
	"users/role": { body: Named & { role: Role }; answer: { user: DoorUser } };
	"users/disable": { body: Named; answer: { user: DoorUser } };
	"users/enable": { body: Named; answer: { user: DoorUser } };
	"users/reset": { body: Named; answer: { user: DoorUser } & OneTimeLink };
	"tokens/create": {
		body: Named & { role: Role; user?: string; expires?: string };
		/** `token` is the secret itself. */
		answer: DoorToken & { token: string };
	};
	"tokens/list": { body: undefined; answer: { tokens: DoorToken[] } };
	"tokens/revoke": { body: { id: string }; answer: { token: DoorToken } };
	/**
	 * Holds new requests that need the part, and answers once what is running has finished, or after `drainSeconds`
	 * (default 30, at most 600). Asking again is no error.
	 */
	hold: { body: { part: HeldPart; drainSeconds?: number }; answer: Drained };
	/** Lets requests through as soon as the part answers; waits for that about as long as a request would. */
	release: { body: { part: HeldPart }; answer: Released };
	holds: { body: undefined; answer: { holds: Hold[] } };
	/** The inference API's own token: made anew if it is missing, not valid, or past half its life. */
	"service-token": { body: undefined; answer: { id: string; expires: string; renewed: boolean } };
	/** The one that signs comes last. */
	"keys/list": { body: undefined; answer: { keys: DoorKey[] } };
	"keys/rotate": { body: undefined; answer: { keys: DoorKey[] } };
	"keys/retire": {
		body: undefined;
		answer: { keys: DoorKey[]; ended: { tokens: number; sessions: number } };
	};
}
export type ControlCommand = keyof ControlCommands;

/** Where the client lies in the door's image. */
const CLIENT = "/app/proxy/control/client.ts";
const TIMEOUT_MS = 30_000;
/** Commands that wait for something: as long as the door itself does, and a little more. */
const PATIENT_MS: Partial<Record<ControlCommand, number>> = { hold: 630_000, release: 150_000 };

/**
 * @param name the stack's name on the host.
 * @throws OpsError DOOR_DOWN (exit 5) if the door's container does not run or answer, else the door's own error.
 */
export async function control<C extends ControlCommand>(
	name: string,
	command: C,
	...[body]: ControlCommands[C]["body"] extends undefined ? [] : [body: ControlCommands[C]["body"]]
): Promise<ControlCommands[C]["answer"]> {
	const container = await containerOf(name, "door");
	if (container?.State.Status !== "running") {
		throw doorDown(container ? `Its container is ${container.State.Status}.` : "It has no container.");
	}
	const args = ["exec", "-i", container.Id, "node", CLIENT, command];
	const timeoutMs = PATIENT_MS[command] ?? TIMEOUT_MS;
	const result = await start(args, { input: JSON.stringify(body ?? {}), timeoutMs });
	const answer = parseAnswer(result.stdout);
	if (answer === undefined) {
		const engine = failed(args, result.stderr);
		if (engine.problem.code === "ENGINE_UNREACHABLE") throw engine;
		throw doorDown(engine.problem.why || `The command ${command} gave no answer in ${timeoutMs / 1000} s.`);
	}
	if (result.exitCode !== 0 || "error" in answer) throw refused(answer as Refusal);
	return answer as ControlCommands[C]["answer"];
}

interface Refusal {
	error?: { code?: string; message?: string; fix?: string };
}

function parseAnswer(text: string): object | undefined {
	try {
		const value: unknown = JSON.parse(text);
		return typeof value === "object" && value !== null ? value : undefined;
	} catch {
		return undefined;
	}
}

function doorDown(why: string): OpsError {
	return new OpsError({
		code: "DOOR_DOWN",
		kind: "unhealthy",
		what: "The door does not answer.",
		why,
		fix: "npm start",
	});
}

/** What kind of ending a refusal of the door is; what is not named here is a precondition. */
const KINDS: Record<string, Exclude<ExitKind, "ok">> = {
	INPUT: "usage",
	USAGE: "usage",
	USER_NAME: "usage",
	PASSWORD_POLICY: "usage",
	TOKEN_NAME: "usage",
	TOKEN_EXPIRY: "usage",
	DATABASE_AWAY: "unhealthy",
	SERVICE_FOLDER: "unhealthy",
	DATABASE_NEWER: "unhealthy",
	SUPERSEDED: "unhealthy",
	BUSY: "unhealthy",
	KEY_FILE_MISSING: "unhealthy",
	KEY_FILE_INVALID: "unhealthy",
	KEY_FILE_WRONG: "unhealthy",
	DOOR_UNREACHABLE: "unhealthy",
	INTERNAL: "unhealthy",
};

function refused({ error = {} }: Refusal): OpsError {
	const { code = "INTERNAL", message = "The door refused without a reason.", fix } = error;
	return new OpsError({
		code,
		kind: KINDS[code] ?? "precondition",
		what: message,
		fix: fix ?? "Look at the door's log: npx mlgate logs door --tail 50",
	});
}
