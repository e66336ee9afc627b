/** The networks of a stack. All exist from the first `up`, because a container cannot change its networks later. */
import { Network } from "@pulumi/docker";
import { hostName, LABEL, NETWORKS, type NetworkName } from "./contract.ts";

export type Networks = Readonly<Record<NetworkName, Network>>;

/** Without an address of its own on an internal network, the host and its users reach nobody there. */
const NO_HOST_ADDRESS = { "com.docker.network.bridge.inhibit_ipv4": "true" };

export function createNetworks(stackName: string): Networks {
	const create = (network: NetworkName) =>
		new Network(
			network,
			{
				name: hostName.network(stackName, network),
				driver: "bridge",
				internal: NETWORKS[network].internal,
				options: NETWORKS[network].internal ? NO_HOST_ADDRESS : {},
				labels: [{ label: LABEL.stack, value: stackName }],
			},
			// A network of the same name cannot be made beside the old one.
			{ deleteBeforeReplace: true },
		);
	return {
		edge: create("edge"),
		clients: create("clients"),
		serve: create("serve"),
		data: create("data"),
		ident: create("ident"),
		uplink: create("uplink"),
		egress: create("egress"),
	};
}
