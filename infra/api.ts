import type { Volume } from "@pulumi/docker";
import type { Output, Resource } from "@pulumi/pulumi";
import { ALIAS, PATH, PORT, SERVICE_FILE } from "./contract.ts";
import { healthCheck } from "./health-check.ts";
import type { Networks } from "./networks.ts";
import { Service } from "./service.ts";

export interface ApiArgs {
	stackName: string;
	/** The user's own image; empty: the reference API. */
	image: string;
	/** MiB. */
	memory: number;
	/** Where it listens. */
	port: number;
	/** A path or a command, see `healthCheck`; empty: the reference API's own check. */
	health: string;
	/** Whether it has a way to the internet. */
	internet: boolean;
	/** What it serves. */
	model: { name: string; stage: string };
	env: Readonly<Record<string, string>>;
	secretEnv: Output<Readonly<Record<string, string>>> | undefined;
	networks: Networks;
	/** Where the door puts the token. */
	service: Volume;
	after: readonly Resource[];
}

const serviceFile = (file: string) => `${PATH.service}/${file}`;

/** What serves the promoted model: the reference API, or a user's own image, neither of which is trusted. */
export class Api extends Service {
	constructor(args: ApiArgs) {
		super(
			"Api",
			{
				stackName: args.stackName,
				part: "api",
				...(args.image && { image: args.image }),
				memory: args.memory,
				env: {
					...args.env,
					MLFLOW_TRACKING_URI: `http://${ALIAS.tracking}:${PORT.door}`,
					MLFLOW_TRACKING_TOKEN_FILE: serviceFile(SERVICE_FILE.token),
					// Read by what stock clients are made of, at every request: a new token needs no restart.
					NETRC: serviceFile(SERVICE_FILE.netrc),
					FLAVOR_MODEL_NAME: args.model.name,
					FLAVOR_MODEL_STAGE: args.model.stage,
					PORT: String(args.port),
					// The root is read-only, and libraries write to their home.
					HOME: "/tmp",
				},
				...(args.secretEnv && { secretEnv: args.secretEnv }),
				networks: [
					{ network: args.networks.serve, aliases: [ALIAS.api] },
					...(args.internet ? [{ network: args.networks.egress, aliases: [] }] : []),
				],
				volumes: [{ volume: args.service, path: PATH.service, readOnly: true }],
				tmpfs: { "/tmp": Math.floor(args.memory / 4) },
				init: true,
				stop: { grace: 30, signal: "SIGTERM" },
				health: {
					start: 60,
					interval: 10,
					timeout: 10,
					...(args.health && { check: healthCheck(args.health, args.port) }),
				},
				wait: 180,
			},
			args.after,
		);
	}
}
