import type { Network } from "@pulumi/docker";
import type { Input, Resource } from "@pulumi/pulumi";
import { ALIAS, DATABASE, hostName, PATH, PORT, SECRET_FILE } from "./contract.ts";
import { trackingFiles } from "./secrets.ts";
import { Service } from "./service.ts";
import type { Settings } from "./settings.ts";
import { createVolume } from "./volumes.ts";

/** What the settings say of it. */
export interface MlflowChoices {
	/** MiB. */
	memory: number;
	workers: number;
	/** For each worker. */
	threads: number;
	/** GiB that artifacts on their way may take. */
	scratch: number;
}

export const mlflowSettings = (settings: Settings): MlflowChoices => ({
	memory: settings["mlflow.memory"],
	workers: settings["mlflow.workers"],
	threads: settings["mlflow.threads"],
	scratch: settings["mlflow.scratch"],
});

export interface MlflowArgs extends MlflowChoices {
	stackName: string;
	network: Network;
	/** Passwords of MLflow's own user in each store. */
	passwords: { database: Input<string>; store: Input<string> };
	/** The stores: they must answer before the schema can be brought up to date. */
	after: readonly Resource[];
}

const secretFile = (file: string) => `${PATH.secrets}/${file}`;

/** The tracking server. Only the door and the stores see it. */
export class Mlflow extends Service {
	constructor(args: MlflowArgs) {
		super(
			"Mlflow",
			{
				stackName: args.stackName,
				part: "mlflow",
				memory: args.memory,
				env: {
					MLFLOW_BACKEND_STORE_URI: `postgresql://${DATABASE.mlflow}@${ALIAS.postgres}:${PORT.postgres}/${DATABASE.mlflow}?passfile=${secretFile(SECRET_FILE.mlflow.database)}`,
					AWS_SHARED_CREDENTIALS_FILE: secretFile(SECRET_FILE.mlflow.store),
					MLFLOW_WORKERS: String(args.workers),
					MLFLOW_THREADS: String(args.threads),
					MLFLOW_SCRATCH_LIMIT_MB: String(args.scratch * 1024),
				},
				networks: [{ network: args.network, aliases: [ALIAS.mlflow] }],
				volumes: [
					{
						volume: createVolume("mlflow-scratch", {
							stackName: args.stackName,
							hostName: hostName.scratchVolume(args.stackName),
						}),
						path: PATH.scratch,
					},
				],
				tmpfs: { "/tmp": 64 },
				secrets: trackingFiles(args.passwords.database, args.passwords.store),
				stop: { grace: 60, signal: "SIGTERM" },
				// The first start, and the first after an upgrade, migrates the schema.
				health: { start: 180, interval: 10, timeout: 10 },
				wait: 300,
			},
			args.after,
		);
	}
}
