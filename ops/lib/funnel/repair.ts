/** What `verify funnel --fix` does: gives the node its configuration again and, if that was not it, starts it anew. */
import { serveConfig } from "../../../infra/serve-config.ts";
import { type Container, docker, inspectContainer } from "../docker.ts";
import type { Identity } from "../identity.ts";
import type { Report } from "../report.ts";
import { sleep } from "../sleep.ts";
import { announce } from "./announce.ts";
import { tailscale } from "./node.ts";

/** Seconds until a node that was started anew is back in its tailnet. */
const PATIENCE = 90;

export async function applyAgain(
	identity: Identity,
	node: Container,
	domain: string | undefined,
): Promise<void> {
	if (domain !== undefined) await tailscale(node, ["serve", "set-raw"], JSON.stringify(serveConfig(domain)));
	await announce(identity);
}

export async function startAnew(
	identity: Identity,
	node: Container,
	{ report, interrupted }: { report: Report; interrupted: AbortSignal },
): Promise<void> {
	await report.step("Starting the node in the tailnet anew", async () => {
		await docker(["restart", node.Id]);
		for (let left = PATIENCE; left > 0; left--) {
			const now = await inspectContainer(node.Id);
			if (now?.State.Health?.Status === "healthy") break;
			await sleep(1_000, interrupted);
		}
	});
	await announce(identity);
}
