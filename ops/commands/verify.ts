import { type CommandGroup, type Context, defineCommand } from "../lib/command.ts";
import { type Container, containerOf } from "../lib/docker.ts";
import { OpsError } from "../lib/errors.ts";
import { urlOf } from "../lib/funnel/checks.ts";
import { type Look, lookAtNode, type Seen } from "../lib/funnel/examine.ts";
import { fromOutside, fromTheHost, fromTheNode } from "../lib/funnel/probes.ts";
import { applyAgain, startAnew } from "../lib/funnel/repair.ts";
import { type Identity, identify } from "../lib/identity.ts";

const funnel = defineCommand({
	name: "funnel",
	summary: "whether the public URL really works, from inside and outside; exit 5 unless it does",
	options: {
		fix: { summary: "give the node its configuration again and, if that does not help, start it anew" },
	},
	locks: false,
	async run(context, _args, { fix = false }) {
		const identity = identify(context);
		const node = await runningNode(identity);
		const before = await verify(identity, node);
		const after = fix && !isWell(before) ? await repair(context, identity, node, before) : before;
		const ok = isWell(after);
		const url = after.node?.domain ? urlOf(after.node.domain) : undefined;
		return {
			json: { ok, url, checks: after.seen, ...(after === before ? {} : { before: before.seen }) },
			text: [
				...(after === before ? [] : ["Before:", ...before.seen.map(line), "", "After:"]),
				...after.seen.map(line),
				"",
				ok ? `The funnel works: ${url}` : advice(after.seen),
			].join("\n"),
			exit: ok ? "ok" : "unhealthy",
		};
	},
});

export const command: CommandGroup = {
	name: "verify",
	summary: "proof that something works",
	commands: [funnel],
};

const isWell = ({ seen }: Look): boolean => seen.every(({ ok }) => ok);

const line = ({ name, ok, what, detail }: Seen): string =>
	ok ? `  ok      ${name}${detail ? `: ${detail}` : ""}` : `  WRONG   ${name}: ${what}`;

/** Every fix, each once: what is wrong with the tailnet is often wrong in more than one place. */
const advice = (seen: readonly Seen[]): string =>
	[...new Set(seen.flatMap(({ ok, fix }) => (ok || fix === undefined ? [] : [fix])))]
		.map((fix) => `Do this: ${fix}`)
		.join("\n");

async function verify(identity: Identity, container: Container): Promise<Look> {
	const [look, inner, host] = await Promise.all([
		lookAtNode(identity.name, container),
		fromTheNode(identity.name, container),
		fromTheHost(identity),
	]);
	// From outside there is nothing to be seen of a node that is not right inside.
	const domain = isWell(look) ? look.node?.domain : undefined;
	const outside =
		domain === undefined ? [] : isTailscales(container) ? await fromOutside(domain) : [ELSEWHERE];
	return { node: look.node, seen: [...look.seen, inner, host, ...outside] };
}

/** Names of another control server's tailnet are nowhere in public. */
const isTailscales = ({ Config: { Env } }: Container): boolean =>
	!Env.some((line) => line.startsWith("TS_EXTRA_ARGS=--login-server="));

const ELSEWHERE: Seen = {
	name: "from outside",
	ok: true,
	detail: "not looked at: the control server is not Tailscale's (funnel.controlUrl)",
};

async function repair(context: Context, identity: Identity, node: Container, before: Look): Promise<Look> {
	await context.report.step("Giving the node its configuration again", () =>
		applyAgain(identity, node, before.node?.domain).catch((error: Error) =>
			context.report.log(error.message),
		),
	);
	const again = await verify(identity, node);
	if (isWell(again)) return again;
	await startAnew(identity, node, context);
	return verify(identity, node);
}

async function runningNode({ name, funnel }: Identity): Promise<Container> {
	const node = await containerOf(name, "tailscale");
	if (node?.State.Status === "running") return node;
	throw new OpsError({
		code: funnel ? "FUNNEL_DOWN" : "FUNNEL_OFF",
		kind: funnel ? "unhealthy" : "precondition",
		what: funnel ? "The node in the tailnet does not run." : "The funnel is off: there is no public URL.",
		fix: funnel ? "npm start" : "Switch it on: npx mlgate config set funnel on, then npm start",
	});
}
