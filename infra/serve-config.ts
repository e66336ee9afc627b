/** What the node does with the connections that reach it, in Tailscale's own form (`ipn.ServeConfig`). */
import { ALIAS, PORT, ROLE_CAPABILITY } from "./contract.ts";

/** containerboot puts the node's name in its place, which nobody knows before it has joined. */
// biome-ignore lint/suspicious/noTemplateCurlyInString: it is replaced in the container
export const NODE_NAME = "${TS_CERT_DOMAIN}";

export interface ServeConfig {
	TCP: Record<string, { HTTPS: true }>;
	Web: Record<string, { Handlers: Record<string, { Proxy: string; AcceptAppCaps: string[] }> }>;
	AllowFunnel: Record<string, true>;
}

/**
 * TLS on one port, everything there to the door's `ident` listener, for the tailnet and for the public alike.
 * @param name of the node
 */
export function serveConfig(name: string = NODE_NAME): ServeConfig {
	const at = `${name}:${PORT.funnel}`;
	return {
		TCP: { [PORT.funnel]: { HTTPS: true } },
		Web: {
			[at]: {
				Handlers: {
					"/": {
						Proxy: `http://${ALIAS.door("ident")}:${PORT.door}`,
						// Of what the policy grants to whoever asks, the door is told this and nothing else.
						AcceptAppCaps: [ROLE_CAPABILITY],
					},
				},
			},
		},
		// With a `false` in it the node would still be told to the relays: while it is off, there is no node.
		AllowFunnel: { [at]: true },
	};
}
