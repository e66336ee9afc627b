import type { Volume } from "@pulumi/docker";
import type { Output, Resource } from "@pulumi/pulumi";
import { ALIAS, PATH, SECRET_FILE } from "./contract.ts";
import type { Networks } from "./networks.ts";
import { tailscaleFiles } from "./secrets.ts";
import { serveConfig } from "./serve-config.ts";
import { Service } from "./service.ts";
import type { Settings } from "./settings.ts";

export interface FunnelArgs {
	stackName: string;
	settings: Pick<Settings, "funnel.memory" | "funnel.hostname" | "funnel.controlUrl">;
	authKey: Output<string> | undefined;
	networks: Networks;
	/** The node's keys and its certificate: without them it is another node, under another name. */
	data: Readonly<{ tailscale: Volume }>;
	after: readonly Resource[];
}

/**
 * A node of the tailnet that brings its members and, through Funnel, the public to the door, and nobody to anything
 * else: it works in user space, on the door's `ident` network and on one that leads out.
 */
export class Funnel extends Service {
	constructor(args: FunnelArgs) {
		const controlUrl = args.settings["funnel.controlUrl"];
		super(
			"Funnel",
			{
				stackName: args.stackName,
				part: "tailscale",
				memory: args.settings["funnel.memory"],
				env: {
					TS_STATE_DIR: PATH.data.tailscale,
					TS_SOCKET: PATH.tailscaleSocket,
					TS_USERSPACE: "true",
					TS_HOSTNAME: args.settings["funnel.hostname"],
					// Else it would log in with the key at every start, and not come back once the key has expired.
					TS_AUTH_ONCE: "true",
					TS_AUTHKEY_FILE: `${PATH.secrets}/${SECRET_FILE.tailscale.authKey}`,
					// What an earlier run served is taken away before this is applied.
					TS_SERVE_CONFIG: `${PATH.secrets}/${SECRET_FILE.tailscale.serve}`,
					// Names are Docker's: the door is one of them.
					TS_ACCEPT_DNS: "false",
					// Nothing of the stack is uploaded to Tailscale's log servers.
					TS_NO_LOGS_NO_SUPPORT: "true",
					...(controlUrl && { TS_EXTRA_ARGS: `--login-server=${controlUrl}` }),
				},
				networks: [
					{ network: args.networks.ident, aliases: [ALIAS.tailscale] },
					{ network: args.networks.uplink, aliases: [] },
				],
				volumes: [{ volume: args.data.tailscale, path: PATH.data.tailscale }],
				tmpfs: { "/tmp": 16 },
				secrets: tailscaleFiles(args.authKey, `${JSON.stringify(serveConfig(), null, 2)}\n`),
				stop: { grace: 30, signal: "SIGTERM" },
				health: { start: 60, interval: 10, timeout: 6 },
				wait: 120,
			},
			args.after,
		);
	}
}
