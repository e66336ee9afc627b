import type { Volume } from "@pulumi/docker";
import type { Output, Resource } from "@pulumi/pulumi";
import {
	ALIAS,
	DATABASE,
	LISTENERS,
	type Listener,
	type NetworkName,
	PATH,
	PORT,
	SECRET_FILE,
	STORE,
} from "./contract.ts";
import type { Networks } from "./networks.ts";
import { doorFiles } from "./secrets.ts";
import { Service } from "./service.ts";
import type { Settings } from "./settings.ts";

/** What people may choose about it. */
export interface DoorChoices {
	/** MiB. */
	memory: number;
	/** Port on the host's loopback. */
	port: number;
	session: { idleHours: number; maxDays: number };
	logLevel: string;
	/** How long a request waits for a part that is away, in seconds. */
	holdSeconds: number;
	/** Where the inference API listens on `serve`. */
	apiPort: number;
	/** Roles of the tailnet's members, by login or @domain; none while the funnel is off. */
	tailnet: Readonly<Record<string, string>> | undefined;
}

export const doorSettings = (settings: Settings): DoorChoices => ({
	memory: settings["door.memory"],
	port: settings.port,
	session: { idleHours: settings["session.idleHours"], maxDays: settings["session.maxDays"] },
	logLevel: settings["door.logLevel"],
	holdSeconds: settings["door.holdSeconds"],
	apiPort: settings["api.port"],
	tailnet: settings.funnel === "on" ? settings["funnel.tailnet"] : undefined,
});

export interface DoorArgs extends DoorChoices {
	stackName: string;
	networks: Networks;
	data: Volume;
	/** Where the API's token is put. */
	service: Volume;
	/** Passwords of the door's own user in each store. */
	passwords: { database: Output<string>; store: Output<string> };
	after: readonly Resource[];
}

/** The networks the door is on, and what it is called there besides its own name. */
const PLACES: Readonly<Partial<Record<NetworkName, readonly string[]>>> = {
	edge: [],
	clients: [ALIAS.tracking],
	serve: [ALIAS.tracking],
	data: [],
	ident: [],
};

/** The one way in: the only part that publishes a port, and the only one on more than one network. */
export class Door extends Service {
	constructor(args: DoorArgs) {
		super(
			"Door",
			{
				stackName: args.stackName,
				part: "door",
				memory: args.memory,
				env: {
					DOOR_NAME: args.stackName,
					DOOR_LISTENERS: JSON.stringify(LISTENERS.map((listener) => listenerOf(listener, args.port))),
					DOOR_MLFLOW_URL: `http://${ALIAS.mlflow}:${PORT.mlflow}`,
					DOOR_MLFLOW_DATABASE: DATABASE.mlflow,
					DOOR_DATABASE_URL: `postgres://${DATABASE.door}@${ALIAS.postgres}:${PORT.postgres}/${DATABASE.door}`,
					DOOR_DATABASE_PASSWORD_FILE: `${PATH.secrets}/${SECRET_FILE.door.database}`,
					DOOR_STORE_URL: `http://${ALIAS.minio}:${PORT.minio}`,
					DOOR_STORE_BUCKET: STORE.bucket,
					DOOR_STORE_USER: STORE.users.door,
					DOOR_STORE_SECRET_FILE: `${PATH.secrets}/${SECRET_FILE.door.store}`,
					DOOR_KEY_FILE: `${PATH.data.door}/wrapping-key`,
					DOOR_CONTROL_SOCKET: PATH.controlSocket,
					DOOR_API_URL: `http://${ALIAS.api}:${args.apiPort}`,
					DOOR_SERVICE_FOLDER: PATH.service,
					DOOR_METRICS_BIND: `${ALIAS.door("data")}:${PORT.metrics}`,
					DOOR_SESSION_IDLE_HOURS: String(args.session.idleHours),
					DOOR_SESSION_MAX_DAYS: String(args.session.maxDays),
					DOOR_LOG_LEVEL: args.logLevel,
					DOOR_HOLD_SECONDS: String(args.holdSeconds),
					...(args.tailnet && {
						DOOR_TAILNET_GATEWAY: ALIAS.tailscale,
						DOOR_TAILNET_ROLES: JSON.stringify(args.tailnet),
					}),
				},
				networks: Object.entries(PLACES).map(([network, aliases]) => ({
					network: args.networks[network as NetworkName],
					aliases: [ALIAS.door(network as NetworkName), ...aliases],
				})),
				volumes: [
					{ volume: args.data, path: PATH.data.door },
					{ volume: args.service, path: PATH.service },
				],
				tmpfs: { "/run/mlgate": 1, "/tmp": 16 },
				secrets: doorFiles(args.passwords.database, args.passwords.store),
				stop: { grace: 40, signal: "SIGTERM" },
				health: { start: 30, interval: 5, timeout: 5 },
				wait: 120,
				publish: { hostPort: args.port, port: PORT.door },
			},
			args.after,
		);
	}
}

/** A listener binds to the door's address on its network, and answers to the names that its clients use. */
function listenerOf(listener: Listener, hostPort: number) {
	const names = PLACES[listener] ?? [];
	const hosts =
		listener === "edge"
			? [`localhost:${hostPort}`, `127.0.0.1:${hostPort}`]
			: [...names, ALIAS.door(listener)].map((name) => `${name}:${PORT.door}`);
	return { name: listener, bind: ALIAS.door(listener), port: PORT.door, hosts };
}
