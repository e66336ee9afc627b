import type { Network, Volume } from "@pulumi/docker";
import { ALIAS, PATH } from "./contract.ts";
import { identityEnv } from "./identities.ts";
import { passwordFiles, type StorePasswords } from "./secrets.ts";
import { Service } from "./service.ts";

export interface MinioArgs {
	stackName: string;
	/** MiB. */
	memory: number;
	network: Network;
	data: Volume;
	/** Of the data volume; on another one it refuses to start. */
	identity: string | undefined;
	/** Secret keys, set for its users at every start; the root credentials stay inside. */
	passwords: StorePasswords;
}

/** The store of artifacts. */
export class Minio extends Service {
	constructor(args: MinioArgs) {
		super("Minio", {
			stackName: args.stackName,
			part: "minio",
			memory: args.memory,
			env: identityEnv(args.identity),
			networks: [{ network: args.network, aliases: [ALIAS.minio] }],
			volumes: [{ volume: args.data, path: PATH.data.minio }],
			tmpfs: { "/run/minio": 1, "/tmp": 64 },
			secrets: passwordFiles("minio", args.passwords),
			stop: { grace: 60, signal: "SIGTERM" },
			health: { start: 60, interval: 5, timeout: 10 },
			wait: 180,
		});
	}
}
