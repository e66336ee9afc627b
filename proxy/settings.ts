/**
 * The door is configured by environment alone. Everything is checked together before anything starts,
 * and every bad value is named in one message.
 */
import { z } from "zod";
import { LISTENERS } from "../infra/contract.ts";
import { ROLES, type Role } from "./roles.ts";

const port = z.int().min(1).max(65_535);
const hostName = z
	.string()
	.regex(/^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$/, "must be a host name or address");
/** A Host header as clients send it, `host[:port]`, in lower case. */
const hostHeader = z
	.string()
	.regex(/^([a-z0-9]([a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:]+\])(:\d{1,5})?$/, "must be host[:port] in lower case");

const listener = z.strictObject({
	name: z.enum(LISTENERS),
	bind: hostName,
	port,
	hosts: z.array(hostHeader).min(1, "needs at least one accepted host"),
});

const json = z.string().transform((text, context) => {
	try {
		return JSON.parse(text) as unknown;
	} catch {
		context.addIssue({ code: "custom", message: "is not JSON" });
		return z.NEVER;
	}
});

/** Logins of the tailnet and `@domain`s, in lower case. A whole domain never is admin. */
const tailnetRoles = json
	.pipe(z.record(z.string().regex(/^[^@A-Z\s]*@[^@A-Z\s]+$/, "must be a login or @domain"), z.enum(ROLES)))
	.refine(
		(roles) => Object.entries(roles).every(([who, role]) => !who.startsWith("@") || role !== "admin"),
		"makes a whole domain admin",
	);

const listeners = json
	.pipe(z.array(listener).min(1, "needs at least one listener"))
	.refine((all) => new Set(all.map(({ name }) => name)).size === all.length, "names a listener twice");

const urlOf = (what: string, ...protocols: string[]) =>
	z.string().refine((value) => {
		const url = URL.parse(value);
		return url !== null && protocols.includes(url.protocol) && url.hostname !== "";
	}, what);

/** An origin: what is appended to it is a path. */
const origin = z.string().refine((value) => {
	const url = URL.parse(value);
	return url?.protocol === "http:" && url.href === `${url.origin}/`;
}, "must be http://host[:port] and nothing else");

const file = z.string().regex(/^\//, "must be an absolute path");
const text = z.string().min(1, "must not be empty");
const count = (low: number, high: number) => z.coerce.number().pipe(z.int().min(low).max(high));

const address = z
	.string()
	.regex(/^[^:]+:\d+$/, "must be host:port")
	.transform((value) => {
		const [host = "", portText] = value.split(":");
		return { host, port: Number(portText) };
	})
	.pipe(z.object({ host: hostName, port }));

const environment = z.object({
	DOOR_NAME: text,
	DOOR_LISTENERS: listeners,
	DOOR_MLFLOW_URL: origin,
	DOOR_DATABASE_URL: urlOf("must be postgres://user@host/database", "postgres:", "postgresql:"),
	DOOR_DATABASE_PASSWORD_FILE: file,
	DOOR_MLFLOW_DATABASE: text.optional(),
	DOOR_STORE_URL: origin,
	DOOR_STORE_BUCKET: text,
	DOOR_STORE_USER: text,
	DOOR_STORE_SECRET_FILE: file,
	DOOR_KEY_FILE: file,
	DOOR_CONTROL_SOCKET: file,
	DOOR_API_URL: origin.optional(),
	DOOR_SERVICE_FOLDER: file.optional(),
	DOOR_METRICS_BIND: address.optional(),
	DOOR_UI_FOLDER: file.optional(),
	DOOR_TAILNET_GATEWAY: hostName.optional(),
	DOOR_TAILNET_ROLES: tailnetRoles.default({}),
	DOOR_SESSION_IDLE_HOURS: count(1, 24 * 30).default(12),
	DOOR_SESSION_MAX_DAYS: count(1, 365).default(7),
	DOOR_LOG_LEVEL: z.enum(["debug", "info", "warn", "error"]).default("info"),
	DOOR_DRAIN_SECONDS: count(0, 3600).default(25),
	DOOR_HOLD_SECONDS: count(1, 3600).default(90),
});

export type ListenerSettings = Readonly<z.output<typeof listener>>;

export interface DoorSettings {
	/** The stack's name: tokens carry it, and cookies on http. */
	readonly name: string;
	readonly listeners: readonly ListenerSettings[];
	readonly mlflow: {
		readonly url: string;
		/** The name of its database on the door's own server; without it creates are not exact-once. */
		readonly database: string | undefined;
	};
	readonly database: { readonly url: string; readonly passwordFile: string };
	readonly store: {
		readonly url: string;
		readonly bucket: string;
		readonly user: string;
		readonly secretFile: string;
	};
	/** What answers `/inference/*`; without it they say that there is nothing. */
	readonly api: { readonly url: string } | undefined;
	/** Where the inference API's own token is written; without it there is none. */
	readonly serviceFolder: string | undefined;
	/** The key that wraps the token-signing keys. */
	readonly keyFile: string;
	readonly controlSocket: string;
	/** No metrics are served without it. */
	readonly metrics: { readonly host: string; readonly port: number } | undefined;
	/** MLflow's static files, compressed. Without it MLflow answers them. */
	readonly uiFolder: string | undefined;
	/** Where members of the tailnet come from, and who they are here. Without it nobody is believed to be one. */
	readonly tailnet: { readonly gateway: string; readonly roles: Readonly<Record<string, Role>> } | undefined;
	readonly session: { readonly idleHours: number; readonly maxDays: number };
	readonly logLevel: "debug" | "info" | "warn" | "error";
	/** How long a stop waits for what is running, in seconds. Keep it below the container's stop grace. */
	readonly drainSeconds: number;
	/** How long a request waits for a part that is away, in seconds. MLflow's clients give up after 120. */
	readonly holdSeconds: number;
}

export class SettingsError extends Error {
	override readonly name = "SettingsError";
}

/** `DOOR_LISTENERS[0].hosts[1]` */
const where = (path: readonly PropertyKey[]): string =>
	path
		.map((part, i) => (typeof part === "number" ? `[${part}]` : i === 0 ? String(part) : `.${String(part)}`))
		.join("");

function freeze<T>(value: T): T {
	if (typeof value === "object" && value !== null && !Object.isFrozen(value)) {
		Object.freeze(value);
		for (const inner of Object.values(value)) freeze(inner);
	}
	return value;
}

/**
 * Reads the settings out of an environment.
 * @throws {SettingsError} naming every `DOOR_*` variable that is missing, wrong or unknown
 */
export function readSettings(env: Readonly<Record<string, string | undefined>>): DoorSettings {
	const given = Object.fromEntries(Object.entries(env).filter(([key]) => key.startsWith("DOOR_")));
	const parsed = environment.safeParse(given);
	const problems = [
		...Object.keys(given)
			.filter((key) => !Object.hasOwn(environment.shape, key))
			.map((key) => `${key}: is not a setting of the door`),
		...(parsed.success
			? []
			: parsed.error.issues.map(({ path, message }) =>
					given[String(path[0])] === undefined ? `${where(path)}: is missing` : `${where(path)}: ${message}`,
				)),
	];
	if (!parsed.success || problems.length > 0) {
		throw new SettingsError(`The door cannot start with these settings:\n  ${problems.join("\n  ")}`);
	}
	const all = parsed.data;
	return freeze({
		name: all.DOOR_NAME,
		listeners: all.DOOR_LISTENERS,
		mlflow: { url: new URL(all.DOOR_MLFLOW_URL).origin, database: all.DOOR_MLFLOW_DATABASE },
		database: { url: all.DOOR_DATABASE_URL, passwordFile: all.DOOR_DATABASE_PASSWORD_FILE },
		store: {
			url: new URL(all.DOOR_STORE_URL).origin,
			bucket: all.DOOR_STORE_BUCKET,
			user: all.DOOR_STORE_USER,
			secretFile: all.DOOR_STORE_SECRET_FILE,
		},
		api: all.DOOR_API_URL === undefined ? undefined : { url: new URL(all.DOOR_API_URL).origin },
		serviceFolder: all.DOOR_SERVICE_FOLDER,
		keyFile: all.DOOR_KEY_FILE,
		controlSocket: all.DOOR_CONTROL_SOCKET,
		metrics: all.DOOR_METRICS_BIND,
		uiFolder: all.DOOR_UI_FOLDER,
		tailnet:
			all.DOOR_TAILNET_GATEWAY === undefined
				? undefined
				: { gateway: all.DOOR_TAILNET_GATEWAY, roles: all.DOOR_TAILNET_ROLES },
		session: { idleHours: all.DOOR_SESSION_IDLE_HOURS, maxDays: all.DOOR_SESSION_MAX_DAYS },
		logLevel: all.DOOR_LOG_LEVEL,
		drainSeconds: all.DOOR_DRAIN_SECONDS,
		holdSeconds: all.DOOR_HOLD_SECONDS,
	});
}
