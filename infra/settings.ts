/**
 * The settings of a stack: Pulumi configuration `mlgate:<key>`, by hand or by `npx mlgate config set`.
 * One table says everything about a setting; the program, the commands and the README's table all read it.
 * Nothing here touches Pulumi or the host.
 */
import { z } from "zod";
import { type Part, PORT, PROJECT } from "./contract.ts";
import { isIdentityKey } from "./identities.ts";
import { SECRET_KEYS } from "./secret-keys.ts";
import { tailnetRoles } from "./tailnet-roles.ts";

/** What a setting may be in the program. */
export type SettingValue = string | number | boolean | Readonly<Record<string, string>>;

export interface Setting {
	/** From the text in the configuration to the typed value. */
	schema: z.ZodType<SettingValue, string>;
	/** What the schema accepts, in words that fit after "is not". */
	expects: string;
	/** As it would be written in the configuration, by stack name. */
	default: (stack: string) => string;
	/** Shown in place of the default where that depends on others, or is nothing. */
	defaultInWords?: string;
	/** Kept encrypted: told on standard input, never shown. Among the plain values it has its default. */
	secret?: true;
	unit: string;
	meaning: string;
	/** The parts that a change restarts (none: it acts at once), or why it cannot change. */
	restarts: readonly Part[] | "fixed";
}

const text = (pattern: RegExp, maxLength: number) => z.string().max(maxLength).regex(pattern);

const whole = (min: number, max: number) => ({
	schema: z
		.string()
		.regex(/^(0|[1-9]\d{0,8})$/)
		.transform(Number)
		.refine((value) => value >= min && value <= max),
	expects: `a whole number from ${min} to ${max}`,
});

const choice = <const T extends readonly [string, ...string[]]>(...values: T) => ({
	schema: z.enum(values) as z.ZodType<T[number], string>,
	expects: `one of ${values.join(", ")}`,
});

const yesOrNo = {
	schema: z.enum(["true", "false"]).transform((value) => value === "true"),
	expects: "one of true, false",
};

/** What the API's container is told by mlgate itself. */
export const RESERVED_ENV = [
	"MLFLOW_TRACKING_URI",
	"MLFLOW_TRACKING_TOKEN_FILE",
	"NETRC",
	"FLAVOR_MODEL_NAME",
	"FLAVOR_MODEL_STAGE",
	"PORT",
] as const;

/** Variables of an environment. One line each: what writes and reads them on the host cannot hold more. */
const variables = {
	schema: z
		.string()
		.max(65_536)
		.transform((value, context) => {
			try {
				return JSON.parse(value) as unknown;
			} catch {
				context.addIssue({ code: "custom", message: "is not JSON" });
				return z.NEVER;
			}
		})
		.pipe(
			z.record(
				z
					.string()
					.regex(/^[A-Za-z_][A-Za-z0-9_]*$/)
					.refine((name) => !RESERVED_ENV.some((reserved) => reserved === name)),
				// biome-ignore lint/suspicious/noControlCharactersInRegex: the point of it.
				z.string().regex(/^[^\x00\r\n]*$/),
			),
		),
	expects: `a JSON object of names and texts of one line, such as {"LOG_LEVEL": "debug"}, without ${RESERVED_ENV.join(", ")}`,
};

/** More than any machine this runs on has; catches a value given in bytes. */
const MOST_MEMORY = 1_048_576;

const usualName = (stack: string): string => (stack === "local" ? PROJECT : `${PROJECT}-${stack}`);

export const SETTINGS = {
	name: {
		schema: text(/^[a-z][a-z0-9]*(-[a-z0-9]+)*$/, 30),
		expects: "a name of 1 to 30 lower-case letters, digits and single hyphens that begins with a letter",
		default: usualName,
		defaultInWords: "`mlgate` for the stack `local`, else `mlgate-<stack>`",
		unit: "",
		meaning: "What everything of the stack is called on the host.",
		restarts: "fixed",
	},
	port: {
		...whole(1024, 65535),
		default: () => "5000",
		unit: "",
		meaning: "The port on the host's loopback where the door is reached.",
		restarts: ["door"],
	},
	"postgres.memory": {
		...whole(512, MOST_MEMORY),
		default: () => "1024",
		unit: "MiB",
		meaning: "Memory limit of Postgres; a quarter of it is its shared buffers.",
		restarts: ["postgres"],
	},
	"minio.memory": {
		...whole(512, MOST_MEMORY),
		default: () => "1024",
		unit: "MiB",
		meaning: "Memory limit of the object store.",
		restarts: ["minio"],
	},
	"mlflow.memory": {
		...whole(768, MOST_MEMORY),
		default: () => "2048",
		unit: "MiB",
		meaning: "Memory limit of the tracking server, all its workers together.",
		restarts: [],
	},
	"mlflow.workers": {
		...whole(1, 32),
		default: () => "2",
		unit: "",
		meaning: "Worker processes of the tracking server.",
		restarts: ["postgres", "mlflow"],
	},
	"mlflow.threads": {
		...whole(1, 64),
		default: () => "8",
		unit: "",
		meaning: "Threads of each worker: requests that it serves at the same time.",
		restarts: ["postgres", "mlflow"],
	},
	"mlflow.scratch": {
		...whole(1, 10_240),
		default: () => "10",
		unit: "GiB",
		meaning: "Most that the tracking server may keep on disk of artifacts on their way.",
		restarts: ["mlflow"],
	},
	"door.memory": {
		...whole(256, MOST_MEMORY),
		default: () => "512",
		unit: "MiB",
		meaning: "Memory limit of the door.",
		restarts: [],
	},
	"door.holdSeconds": {
		...whole(1, 110),
		default: () => "90",
		unit: "seconds",
		meaning:
			"How long a request waits for a part that restarts. MLflow's clients wait 120 seconds for an answer.",
		restarts: ["door"],
	},
	"door.logLevel": {
		...choice("fatal", "error", "warn", "info", "debug", "trace"),
		default: () => "info",
		unit: "",
		meaning: "How much the door writes to its log.",
		restarts: ["door"],
	},
	"session.idleHours": {
		...whole(1, 720),
		default: () => "12",
		unit: "hours",
		meaning: "A sign-in ends after this long without a request.",
		restarts: ["door"],
	},
	"session.maxDays": {
		...whole(1, 90),
		default: () => "7",
		unit: "days",
		meaning: "A sign-in ends after this long in any case.",
		restarts: ["door"],
	},
	"api.model": {
		// As MLflow and the reference API take them; the name becomes part of `models:/<name>/<stage>`.
		schema: text(/^(?! )[^/:?#%"\p{Cc}]+$/u, 200),
		expects: 'the name of a registered model, without / : ? # % "',
		default: () => "flavor-ml-embeddings",
		unit: "",
		meaning: "The registered model that the inference API serves.",
		restarts: ["api"],
	},
	"api.stage": {
		...choice("Staging", "Production"),
		default: () => "Staging",
		unit: "",
		meaning: "The stage that the inference API serves: a version that comes there is deployed.",
		restarts: ["api"],
	},
	"api.image": {
		schema: text(/^([a-z0-9][A-Za-z0-9._:/@-]*)?$/, 300),
		expects: "an image as Docker names it, such as registry.example/team/model:1.4",
		default: () => "",
		defaultInWords: "mlgate's own reference API",
		unit: "",
		meaning: "Your own inference service in place of the reference API.",
		restarts: ["api"],
	},
	"api.port": {
		...whole(1024, 65535),
		default: () => String(PORT.api),
		unit: "",
		meaning: "The port that the inference API listens on inside its container.",
		restarts: ["door", "api"],
	},
	"api.health": {
		schema: text(/^(\/[A-Za-z0-9._~%!$&()*+,;=:@/?-]*|[^/\s][\x20-\x7e]*)?$/, 500),
		expects: "a path such as /health, or a shell command in ASCII that does not begin with /",
		default: () => "",
		defaultInWords: "`/health`; the reference API's own check",
		unit: "",
		meaning: "How Docker sees that your image is well, model or not: a path it answers, or a command in it.",
		restarts: ["api"],
	},
	"api.ready": {
		schema: text(/^(\/[A-Za-z0-9._~%!$&()*+,;=:@/?-]*)?$/, 500),
		expects: "a path such as /ready",
		default: () => "",
		defaultInWords: "what `api.health` asks",
		unit: "",
		meaning: "A path that your image answers only with a usable model; asked before a promotion replaces it.",
		restarts: [],
	},
	"api.reload": {
		...choice("auto", "follows", "restart"),
		default: () => "auto",
		unit: "",
		meaning:
			"Whether the image follows the stage by itself and tells so at /model, or must be started anew. auto: the reference API follows, your own image is started anew.",
		restarts: [],
	},
	"api.env": {
		...variables,
		default: () => "{}",
		unit: "",
		meaning: "More environment variables for the inference API.",
		restarts: ["api"],
	},
	"api.secretEnv": {
		...variables,
		default: () => "{}",
		secret: true,
		unit: "",
		meaning: "The same for secrets: given on standard input and kept encrypted.",
		restarts: ["api"],
	},
	"api.memory": {
		...whole(256, MOST_MEMORY),
		default: () => "512",
		unit: "MiB",
		meaning: "Memory limit of the inference API; a quarter of it may be files in /tmp.",
		restarts: ["api"],
	},
	"api.internet": {
		...yesOrNo,
		default: () => "false",
		unit: "",
		meaning: "Whether the inference API has a way to the internet.",
		restarts: ["api"],
	},
	funnel: {
		...choice("off", "on"),
		default: () => "off",
		unit: "",
		meaning: "Whether the door has a public URL through Tailscale Funnel, on port 8443.",
		restarts: ["door", "tailscale"],
	},
	"funnel.hostname": {
		schema: text(/^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/, 63),
		expects: "1 to 63 lower-case letters, digits and hyphens, without a hyphen at either end",
		default: (stack) =>
			usualName(stack)
				.toLowerCase()
				.replace(/[^a-z0-9]+/g, "-")
				.slice(0, 63),
		defaultInWords: "as that of `name`",
		unit: "",
		meaning:
			"The node's name in the tailnet: https://<hostname>.<tailnet>.ts.net:8443. It is public: certificates are listed.",
		restarts: ["tailscale"],
	},
	"funnel.authKey": {
		schema: text(/^(tskey-auth-[A-Za-z0-9-]{4,})?$/, 300),
		expects: "an auth key of Tailscale, which begins with tskey-auth-",
		default: () => "",
		defaultInWords: "none",
		secret: true,
		unit: "",
		meaning:
			"What the node joins the tailnet with, once: given on standard input and kept encrypted. It is not needed any more when it has joined.",
		restarts: ["tailscale"],
	},
	"funnel.credentials": {
		schema: text(/^(tskey-(api|client)-[A-Za-z0-9]{3,}-[A-Za-z0-9]{3,})?$/, 300),
		expects:
			"an API access token (tskey-api-...) or the secret of an OAuth client (tskey-client-...) of Tailscale",
		default: () => "",
		defaultInWords: "none",
		secret: true,
		unit: "",
		meaning:
			"In place of `funnel.authKey`: `up` makes the key with it and prepares the tailnet. Given on standard input and kept encrypted.",
		restarts: ["tailscale"],
	},
	"funnel.tag": {
		schema: text(/^tag:[A-Za-z][A-Za-z0-9-]*$/, 60),
		expects: "tag: and a name of letters, digits and hyphens that begins with a letter",
		default: () => "tag:mlflow-gateway",
		unit: "",
		meaning: "The tag of the node that joins with `funnel.credentials`; the tailnet's policy names it.",
		restarts: ["tailscale"],
	},
	"funnel.controlUrl": {
		schema: text(/^(https?:\/\/[A-Za-z0-9.-]+(:\d{1,5})?)?$/, 300),
		expects: "http(s)://host[:port]",
		default: () => "",
		defaultInWords: "Tailscale's own",
		unit: "",
		meaning: "Another control server, for tests. Funnel itself needs Tailscale's.",
		restarts: ["tailscale"],
	},
	"funnel.tailnet": {
		...tailnetRoles,
		default: () => "{}",
		unit: "",
		meaning:
			"Which role members of the tailnet have without a password, by login or by the domain of their logins. Whoever is not named, and has no role by a grant of the tailnet's policy, is a stranger.",
		restarts: ["door"],
	},
	"funnel.memory": {
		...whole(256, MOST_MEMORY),
		default: () => "256",
		unit: "MiB",
		meaning: "Memory limit of the node in the tailnet.",
		restarts: [],
	},
} as const satisfies Record<string, Setting>;

export type SettingKey = keyof typeof SETTINGS;
export const SETTING_KEYS = Object.keys(SETTINGS) as SettingKey[];

/** The setting that bounds a part's memory. */
export const MEMORY_SETTING = {
	postgres: "postgres.memory",
	minio: "minio.memory",
	mlflow: "mlflow.memory",
	door: "door.memory",
	api: "api.memory",
	tailscale: "funnel.memory",
} as const satisfies Record<Part, SettingKey>;

/** Every setting by its key, with the type of its schema. */
export type Settings = Readonly<{ [Key in SettingKey]: z.output<(typeof SETTINGS)[Key]["schema"]> }>;

/** Whether its value is kept encrypted. */
export const isSecretSetting = (key: string): boolean => isSettingKey(key) && "secret" in SETTINGS[key];

export const isSettingKey = (key: string): key is SettingKey => Object.hasOwn(SETTINGS, key);

export interface SettingProblem {
	key: string;
	what: string;
	fix: string;
}

/** Everything that is wrong with the settings, in one message. */
export class SettingsError extends Error {
	override readonly name = "SettingsError";
	readonly problems: readonly SettingProblem[];

	constructor(problems: readonly SettingProblem[]) {
		super(problems.map(({ what, fix }) => `${what} ${fix}`).join("\n"));
		this.problems = problems;
	}
}

/**
 * @param raw configuration without the project's prefix, as text; secrets and identities are passed over.
 * @param stack the Pulumi stack's name, on which defaults depend.
 * @throws SettingsError naming every problem at once.
 */
export function parseSettings(raw: Readonly<Record<string, string>>, stack: string): Settings {
	const problems: SettingProblem[] = Object.keys(raw)
		.filter(
			(key) => !isSettingKey(key) && !isIdentityKey(key) && !SECRET_KEYS.some((secret) => secret === key),
		)
		.map((key) => unknownKey(key, stack));
	const values: Record<string, SettingValue> = {};
	for (const key of SETTING_KEYS) {
		if (isSecretSetting(key) && raw[key] !== undefined) problems.push(inClear(key, stack));
		const given = (isSecretSetting(key) ? undefined : raw[key]) ?? SETTINGS[key].default(stack);
		const result = SETTINGS[key].schema.safeParse(given);
		if (result.success) values[key] = result.data;
		else problems.push(badValue(key, given, stack));
	}
	const settings = values as unknown as Settings;
	for (const rule of RULES) {
		const problem = rule.keys.every((key) => key in values) ? rule.problem(settings) : undefined;
		if (problem) problems.push(problem);
	}
	if (problems.length > 0) throw new SettingsError(problems);
	return Object.freeze(settings);
}

/**
 * Connections that Postgres must allow: each thread of each worker may hold two of each of MLflow's two stores
 * (tracking, registry); the door, the probes and the operator come on top.
 */
export function databaseConnections(settings: Pick<Settings, "mlflow.workers" | "mlflow.threads">): number {
	return Math.max(100, 4 * settings["mlflow.workers"] * settings["mlflow.threads"] + 36);
}

interface Rule {
	keys: readonly SettingKey[];
	problem(settings: Settings): SettingProblem | undefined;
}

/** What no setting can say alone. Looked at only where each of the values is good. */
const RULES: readonly Rule[] = [
	{
		keys: ["postgres.memory", "mlflow.workers", "mlflow.threads"],
		problem(settings) {
			const connections = databaseConnections(settings);
			// A backend of Postgres keeps 2 to 4 MiB of its own; one that is killed for memory takes all down.
			return tooSmall(settings, "postgres.memory", 256 + 4 * connections, `${connections} connections`, [
				"mlflow.workers",
				"mlflow.threads",
			]);
		},
	},
	{
		keys: ["mlflow.memory", "mlflow.workers"],
		problem: (settings) =>
			tooSmall(
				settings,
				"mlflow.memory",
				256 + 256 * settings["mlflow.workers"],
				`${settings["mlflow.workers"]} workers`,
				["mlflow.workers"],
			),
	},
	{
		keys: ["session.idleHours", "session.maxDays"],
		problem(settings) {
			const most = settings["session.maxDays"] * 24;
			if (settings["session.idleHours"] <= most) return;
			return {
				key: "session.idleHours",
				what: `${PROJECT}:session.idleHours is ${settings["session.idleHours"]}, longer than session.maxDays (${settings["session.maxDays"]}) allows.`,
				fix: `Set it to ${most} or less, or raise session.maxDays.`,
			};
		},
	},
];

function tooSmall(
	settings: Settings,
	key: "postgres.memory" | "mlflow.memory",
	least: number,
	reason: string,
	others: readonly SettingKey[],
): SettingProblem | undefined {
	if (settings[key] >= least) return;
	return {
		key,
		what: `${PROJECT}:${key} is ${settings[key]} MiB, too little for ${reason}.`,
		fix: `Set it to ${least} or more, or lower ${others.join(" or ")}.`,
	};
}

function badValue(key: SettingKey, given: string, stack: string): SettingProblem {
	const usual = SETTINGS[key].default(stack) || "''";
	const remedy = given === usual ? "a value" : `another value, for example ${usual}`;
	return {
		key,
		what: `${PROJECT}:${key} is \`${given}\`, which is not ${SETTINGS[key].expects}.`,
		fix: `Set ${remedy}: npx mlgate config set ${key} ${given === usual ? "<value>" : usual}`,
	};
}

const inClear = (key: SettingKey, stack: string): SettingProblem => ({
	key,
	what: `${PROJECT}:${key} stands in clear in Pulumi.${stack}.yaml.`,
	fix: `Remove it there, and give it on standard input: npx mlgate config set ${key} < <file>`,
});

// The value is not shown: under a mistyped key it may be anything, a password among them.
function unknownKey(key: string, stack: string): SettingProblem {
	const near = nearest(key);
	return {
		key,
		what: `${PROJECT}:${key} is not a setting${near ? ` (there is ${near})` : ""}.`,
		fix: `${near ? "Rename or remove" : "Remove"} it in Pulumi.${stack}.yaml.`,
	};
}

/** The setting that was probably meant, if any is near enough. */
export function nearest(key: string): SettingKey | undefined {
	const wanted = key.toLowerCase();
	const ranked = SETTING_KEYS.map((candidate) => {
		const [whole = "", last = whole] = [candidate.toLowerCase(), candidate.toLowerCase().split(".").at(-1)];
		return { candidate, distance: Math.min(editDistance(wanted, whole), editDistance(wanted, last) + 1) };
	}).sort((a, b) => a.distance - b.distance);
	const best = ranked[0];
	return best && best.distance <= Math.max(2, Math.floor(wanted.length / 3)) ? best.candidate : undefined;
}

/** Levenshtein's distance, one row at a time. */
function editDistance(a: string, b: string): number {
	let row = Array.from({ length: b.length + 1 }, (_, index) => index);
	for (const [i, letter] of [...a].entries()) {
		const next = [i + 1];
		for (const [j, other] of [...b].entries())
			next.push(
				Math.min((next[j] ?? 0) + 1, (row[j + 1] ?? 0) + 1, (row[j] ?? 0) + (letter === other ? 0 : 1)),
			);
		row = next;
	}
	return row.at(-1) ?? 0;
}

/** The README's table. */
export function settingsMarkdown(): string {
	const rows = SETTING_KEYS.map((key) => {
		const setting: Setting = SETTINGS[key];
		const usual =
			setting.defaultInWords ?? [`\`${setting.default("local")}\``, setting.unit].filter(Boolean).join(" ");
		return [`\`${key}\``, usual, setting.expects, setting.meaning, effectInWords(setting.restarts)];
	});
	return [
		["Setting", "Default", "Accepts", "Meaning", "A change"],
		["---", "---", "---", "---", "---"],
		...rows,
	]
		.map((cells) => `| ${cells.join(" | ")} |`)
		.join("\n");
}

/** What a change of a setting does, for people. */
export function effectInWords(restarts: Setting["restarts"]): string {
	if (restarts === "fixed") return "is refused once the stack exists";
	return restarts.length === 0
		? "acts at the next `up`, restarts nothing"
		: `restarts ${restarts.join(" and ")}`;
}
