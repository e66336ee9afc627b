/** Tells the door under which name the public comes: nobody knows it before the node has joined its tailnet. */
import { containerOf } from "../docker.ts";
import { control } from "../door.ts";
import type { Identity } from "../identity.ts";
import { hostOf, urlOf } from "./checks.ts";
import { askJson, type NodeStatus } from "./node.ts";

export interface PublicUrl {
	/** Where the public reaches the door; null: nowhere. */
	url: string | null;
	before: string | null;
}

/** @throws OpsError DOOR_DOWN, DOCKER_FAILED */
export async function announce({ name, funnel }: Pick<Identity, "name" | "funnel">): Promise<PublicUrl> {
	const node = funnel ? await containerOf(name, "tailscale") : undefined;
	const { CertDomains } = node
		? await askJson<Pick<NodeStatus, "CertDomains">>(node, ["status", "--json", "--peers=false"])
		: { CertDomains: null };
	const domain = CertDomains?.[0];
	const { before } = await control(name, "funnel/name", { host: domain ? hostOf(domain) : null });
	return { url: domain ? urlOf(domain) : null, before: before && `https://${before}` };
}
