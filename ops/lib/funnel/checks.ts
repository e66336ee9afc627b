/**
 * What must be true of the node for the public URL to work, as one table. `tailscale funnel status` says "on" where
 * half of these are false: it looks at nothing but its own configuration.
 */
import { isDeepStrictEqual } from "node:util";
import { PORT } from "../../../infra/contract.ts";
import { serveConfig } from "../../../infra/serve-config.ts";
import type { Node } from "./node.ts";

export interface Trouble {
	what: string;
	/** The one thing to do. */
	fix: string;
}

export interface FunnelCheck {
	name: string;
	/** Looked at by `verify funnel` alone: it is not so right after the node has joined, and nothing is wrong then. */
	later?: true;
	look(node: Node): Trouble | undefined;
	/** What else there is to say where nothing is wrong. */
	detail?(node: Node): string | undefined;
}

const DAY = 86_400_000;
const days = (until: Date | string): number => Math.floor((new Date(until).getTime() - Date.now()) / DAY);

/** What the node itself says, where it says anything. */
const because = (said: string | undefined): string => (said ? `: ${said.replace(/\.?$/, ".")}` : ".");

/** Certificates and keys that end sooner are trouble: what renews them has tried for long by then. */
const SOON = 7;

const ADMIN = "https://login.tailscale.com/admin";
const VERIFY = "npx mlgate verify funnel --fix";
const FUNNEL_PORTS = "https://tailscale.com/cap/funnel-ports";

/** What each state that is not `Running` asks for. */
const STATES: Readonly<Record<string, Trouble>> = {
	NeedsLogin: {
		what: "The node has not joined a tailnet, or was removed from it; its auth key was missing, used up, expired, or for another tailnet.",
		fix: `Make a new auth key (${ADMIN}/settings/keys) and give it: npx mlgate config set funnel.authKey < <file>, then npm start (with funnel.credentials, npm start makes one by itself)`,
	},
	NeedsMachineAuth: {
		what: "The node waits for somebody to approve it in the tailnet.",
		fix: `Approve it: ${ADMIN}/machines`,
	},
};

/** `?ports=443,8443,10000` and `?ports=80-9000`, as the tailnet writes them. */
function grantsPort(caps: readonly string[], port: number): boolean {
	return caps.some((cap) => {
		const url = URL.parse(cap);
		if (!url || `${url.origin}${url.pathname}` !== FUNNEL_PORTS) return false;
		return (url.searchParams.get("ports") ?? "").split(",").some((range) => {
			const [from, to = from] = range.split("-").map(Number);
			return from !== undefined && to !== undefined && from <= port && port <= to;
		});
	});
}

const capsOf = ({ status }: Node): string[] => Object.keys(status.Self?.CapMap ?? {});
const labelOf = ({ status }: Node): string => status.Self?.DNSName.split(".")[0] ?? "";

export const CHECKS: readonly FunnelCheck[] = [
	{
		name: "joined",
		look: ({ status: { BackendState, Self } }) => {
			if (BackendState !== "Running")
				return (
					STATES[BackendState] ?? {
						what: `The node is not running in its tailnet (${BackendState}).`,
						fix: "npx mlgate logs tailscale --tail 50",
					}
				);
			return Self?.Expired
				? { what: "The node's key has expired.", fix: `Renew it: ${ADMIN}/machines, then npm start` }
				: undefined;
		},
	},
	{
		name: "control server",
		look: ({ status }) => {
			const said = status.Health?.find((line) =>
				/coordination server|map (poll|response)|logged out/i.test(line),
			);
			if (said === undefined && status.Self?.Online !== false) return undefined;
			return {
				what: `The node has lost its connection to Tailscale${because(said)}`,
				fix: "Check the way out of this host (controlplane.tailscale.com, port 443) and its clock; it comes back by itself.",
			};
		},
	},
	{
		name: "name",
		look: (node) =>
			labelOf(node) === node.wanted
				? undefined
				: {
						what: `The tailnet has another node ${node.wanted}; this one is called ${labelOf(node)}.`,
						fix: `Remove the old node (${ADMIN}/machines) and rename this one there, or choose another name: npx mlgate config set funnel.hostname <name>, then npm start`,
					},
	},
	{
		name: "HTTPS",
		look: ({ domain }) =>
			domain === undefined
				? {
						what: "HTTPS certificates are switched off in the tailnet: the node runs and serves nothing.",
						fix: `Switch on MagicDNS and HTTPS certificates: ${ADMIN}/dns`,
					}
				: undefined,
	},
	{
		name: "https capability",
		look: (node) =>
			capsOf(node).includes("https")
				? undefined
				: {
						what: "The tailnet does not let this node have certificates (capability https).",
						fix: `Switch on HTTPS certificates: ${ADMIN}/dns`,
					},
	},
	{
		name: "funnel capability",
		look: (node) =>
			capsOf(node).includes("funnel")
				? undefined
				: {
						what: "The tailnet's policy does not let this node use Funnel (node attribute funnel).",
						fix: `Add to nodeAttrs in ${ADMIN}/acls: {"target": ["<the node's tag, or autogroup:member>"], "attr": ["funnel"]}. autogroup:member is not for tagged nodes.`,
					},
	},
	{
		name: `port ${PORT.funnel}`,
		look: (node) =>
			grantsPort(capsOf(node), PORT.funnel)
				? undefined
				: {
						what: `The tailnet does not let this node use Funnel on port ${PORT.funnel}.`,
						fix: `Look at what ${ADMIN}/acls says of funnel for this node; Tailscale itself allows 443, 8443 and 10000.`,
					},
	},
	{
		name: "served",
		look: ({ served, domain }) => {
			const wanted = serveConfig(domain);
			const { TCP, Web, AllowFunnel } = served;
			if (domain === undefined || isDeepStrictEqual({ TCP, Web, AllowFunnel }, { ...wanted }))
				return undefined;
			return { what: "The node does not serve what the stack gave it to serve.", fix: VERIFY };
		},
	},
	{
		name: "door",
		look: ({ domain, doorHost }) =>
			domain === undefined || doorHost === hostOf(domain)
				? undefined
				: {
						what: `The door answers to ${doorHost ?? "no public name"}, and the node is ${hostOf(domain)}.`,
						fix: VERIFY,
					},
	},
	{
		name: "key",
		look: ({ status: { Self } }) =>
			Self?.KeyExpiry !== undefined && !Self.Expired && days(Self.KeyExpiry) < SOON
				? {
						what: `The node's key expires in ${days(Self.KeyExpiry)} days, and the URL goes with it.`,
						fix: `Disable key expiry for this node: ${ADMIN}/machines`,
					}
				: undefined,
		detail: ({ status: { Self } }) =>
			Self?.KeyExpiry === undefined ? "does not expire" : `${days(Self.KeyExpiry)} days left`,
	},
	{
		name: "tailnet lock",
		look: ({ lockedOut }) =>
			lockedOut
				? {
						what: "The tailnet is locked, and nobody has signed this node.",
						fix: `Sign it on a signing node: tailscale lock sign <its node key, from ${ADMIN}/machines>`,
					}
				: undefined,
	},
	{
		name: "certificate",
		later: true,
		look: ({ domain, certificateEnds, status }) => {
			if (domain === undefined) return undefined;
			if (certificateEnds === undefined) {
				const said = status.Health?.find((line) => /certificate/i.test(line));
				return {
					what: `The node has no certificate yet${because(said)}`,
					fix: "It takes a minute or two from the first start. If it stays so: npx mlgate logs tailscale --tail 50",
				};
			}
			return days(certificateEnds) < SOON
				? {
						what: `The certificate ends in ${days(certificateEnds)} days and was not renewed.`,
						fix: "npx mlgate logs tailscale --tail 50",
					}
				: undefined;
		},
		detail: ({ certificateEnds }) => certificateEnds && `${days(certificateEnds)} days left`,
	},
];

/** The Host header of public requests. */
export const hostOf = (domain: string): string => `${domain}:${PORT.funnel}`;

export const urlOf = (domain: string): string => `https://${hostOf(domain)}`;
