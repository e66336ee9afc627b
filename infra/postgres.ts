import type { Network, Volume } from "@pulumi/docker";
import { ALIAS, PATH } from "./contract.ts";
import { identityEnv } from "./identities.ts";
import { passwordFiles, type StorePasswords } from "./secrets.ts";
import { Service } from "./service.ts";
import { databaseConnections, type Settings } from "./settings.ts";

/** What the settings say of it. */
export interface PostgresChoices {
	/** MiB. */
	memory: number;
	/** Connections that it must allow. */
	connections: number;
}

export const postgresSettings = (settings: Settings): PostgresChoices => ({
	memory: settings["postgres.memory"],
	connections: databaseConnections(settings),
});

export interface PostgresArgs extends PostgresChoices {
	stackName: string;
	network: Network;
	data: Volume;
	/** Of the data volume; on another one it refuses to start. */
	identity: string | undefined;
	/** Set for its users at every start; the superuser has none and stays inside. */
	passwords: StorePasswords;
}

/** The database of MLflow and of the door. */
export class Postgres extends Service {
	constructor(args: PostgresArgs) {
		super("Postgres", {
			stackName: args.stackName,
			part: "postgres",
			memory: args.memory,
			env: {
				POSTGRES_MEMORY_MB: String(args.memory),
				POSTGRES_MAX_CONNECTIONS: String(args.connections),
				...identityEnv(args.identity),
			},
			networks: [{ network: args.network, aliases: [ALIAS.postgres] }],
			volumes: [{ volume: args.data, path: PATH.data.postgres }],
			tmpfs: { "/run/postgresql": 16, "/tmp": 64 },
			sharedMemory: 256,
			secrets: passwordFiles("postgres", args.passwords),
			// SIGINT is its fast shutdown: sessions end, a checkpoint is written.
			stop: { grace: 120, signal: "SIGINT" },
			// The first start makes the cluster; one after a crash replays the log.
			health: { start: 120, interval: 5, timeout: 5 },
			wait: 300,
		});
	}
}
