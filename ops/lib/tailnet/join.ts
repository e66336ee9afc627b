/** What `up` does before a node joins its tailnet with credentials of the API. */
import type { Context } from "../command.ts";
import { containerOf } from "../docker.ts";
import { askJson, type NodeStatus } from "../funnel/node.ts";
import { refusalOf } from "../funnel/refused-key.ts";
import type { StackHandle } from "../stack.ts";
import { TailnetApi } from "./api.ts";
import { consentOf } from "./consent.ts";
import { preparePolicy, prepareSwitches } from "./prepare.ts";

/** Does nothing where no credentials are in use. @throws OpsError: nothing of the stack was touched then. */
export async function prepareTailnet(context: Context, stack: StackHandle): Promise<void> {
	const credentials = await stack.tailnetCredentials();
	if (credentials === undefined) return;
	const { name, "funnel.tag": tag, "funnel.tailnet": roles } = stack.settings();
	const api = await TailnetApi.open(credentials);
	const consent = consentOf(context);
	const wanted = { tag, members: Object.keys(roles).length > 0 };
	await preparePolicy(api, wanted, context, context.report, consent);
	await prepareSwitches(api, context.report, consent);
	// A key from an earlier run is used up or dead by now.
	if (!(await hasJoined(name))) await stack.forgetTailnetKey();
}

/** One that is stopped may have, unless its key was refused; it keeps what it knows. */
async function hasJoined(name: string): Promise<boolean> {
	const node = await containerOf(name, "tailscale");
	if (node && node.State.Health?.Status !== "healthy" && (await refusalOf(node)) !== undefined) return false;
	if (node?.State.Status !== "running") return node !== undefined;
	const status = await askJson<Pick<NodeStatus, "BackendState">>(node, ["status", "--json", "--peers=false"]);
	return status.BackendState !== "NeedsLogin";
}
