/** A look at the node in the tailnet: what `status` says of it, and the first half of `verify funnel`. */
import type { Container } from "../docker.ts";
import { control } from "../door.ts";
import { OpsError } from "../errors.ts";
import type { Finding } from "../health.ts";
import { CHECKS, type Trouble, urlOf } from "./checks.ts";
import { askNode, type Node } from "./node.ts";

/** One thing that was looked at. */
export interface Seen extends Partial<Trouble> {
	name: string;
	ok: boolean;
	detail?: string;
}

export interface Look {
	node: Node | undefined;
	seen: Seen[];
}

/** Everything about the node itself. @param patient leave out what needs time after the node has joined */
export async function lookAtNode(name: string, container: Container, patient = false): Promise<Look> {
	let node: Node;
	try {
		const { host } = await control(name, "funnel/name", {});
		node = await askNode(container, host);
	} catch (error) {
		if (!(error instanceof OpsError)) throw error;
		const { what, why, fix } = error.problem;
		return { node: undefined, seen: [{ name: "node", ok: false, what: why ?? what, fix }] };
	}
	const seen = CHECKS.filter(({ later }) => !(patient && later)).map(({ name, look, detail }): Seen => {
		const trouble = look(node);
		const more = trouble === undefined ? detail?.(node) : undefined;
		return { name, ok: trouble === undefined, ...trouble, ...(more && { detail: more }) };
	});
	return { node, seen };
}

/** For `status`. */
export async function examineFunnel(
	name: string,
	container: Container,
): Promise<{ url?: string; findings: Finding[] }> {
	const { node, seen } = await lookAtNode(name, container, true);
	const findings = seen
		.filter(({ ok }) => !ok)
		.map(({ what = "", fix = "" }): Finding => ({ part: "tailscale", what, fix }));
	return { ...(node?.domain && { url: urlOf(node.domain) }), findings };
}
