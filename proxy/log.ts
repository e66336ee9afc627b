/** The door's log: one JSON line an event on stdout. Credentials never get into it. */
import { type DestinationStream, type Logger, pino } from "pino";
import type { DoorSettings } from "./settings.ts";

export type Log = Pick<Logger, "debug" | "info" | "warn" | "error" | "fatal" | "isLevelEnabled">;

/** Keys whose value is a secret wherever they stand, at the top or one or two levels below. */
const SECRET_KEYS = [
	"authorization",
	"proxy-authorization",
	"cookie",
	"set-cookie",
	"x-csrf-token",
	"password",
	"secret",
	"token",
	"query",
	"search",
	"headers",
	"body",
];

const quoted = (key: string): string => (/^\w+$/.test(key) ? key : `["${key}"]`);
const under = (prefix: string, key: string): string =>
	quoted(key).startsWith("[") ? `${prefix}${quoted(key)}` : `${prefix}.${key}`;

const REDACTED = SECRET_KEYS.flatMap((key) => [quoted(key), under("*", key), under("*.*", key)]);

/** What an error may tell: libraries hang requests, sockets and options (with headers) on theirs. */
function errorShape(error: unknown): object {
	if (!(error instanceof Error)) return { message: String(error) };
	const { name, message, stack, cause } = error;
	const code = "code" in error && typeof error.code === "string" ? error.code : undefined;
	return { type: name, message, code, stack, ...(cause === undefined ? {} : { cause: errorShape(cause) }) };
}

export function openLog(settings: Pick<DoorSettings, "name" | "logLevel">, to?: DestinationStream): Logger {
	return pino(
		{
			level: settings.logLevel,
			base: { stack: settings.name },
			timestamp: pino.stdTimeFunctions.isoTime,
			formatters: { level: (label) => ({ level: label }) },
			redact: { paths: REDACTED, censor: "[redacted]" },
			serializers: { err: errorShape },
		},
		...(to === undefined ? [] : [to]),
	);
}
