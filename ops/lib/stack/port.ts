/** Whether the door can have its port, asked before the old door is taken down for it. */
import { createServer } from "node:net";
import { LABEL } from "../../../infra/contract.ts";
import { docker } from "../docker.ts";
import { OpsError } from "../errors.ts";
import { whoListens } from "../port.ts";

/** @throws OpsError PORT_IN_USE if another program listens there. */
export async function assertPortFree(port: number, stackName: string): Promise<void> {
	if (isElsewhere(process.env.DOCKER_HOST) || (await hasDoorOn(port, stackName)) || (await isFree(port)))
		return;
	throw new OpsError({
		code: "PORT_IN_USE",
		kind: "precondition",
		what: `Port ${port} on 127.0.0.1 is in use by another program.`,
		why: `It belongs to ${await whoListens(port)}.`,
		fix: "Stop that program, or take another port: npx mlgate config set port <port>",
	});
}

/** An engine on another machine has ports of its own. */
const isElsewhere = (engine: string | undefined): boolean =>
	engine !== undefined && !engine.startsWith("unix:");

async function hasDoorOn(port: number, stackName: string): Promise<boolean> {
	const ours = [`label=${LABEL.stack}=${stackName}`, `label=${LABEL.part}=door`];
	const filters = ours.flatMap((filter) => ["--filter", filter]);
	const ports = await docker(["ps", ...filters, "--format", "{{.Ports}}"]);
	return ports.includes(`127.0.0.1:${port}->`);
}

const isFree = (port: number): Promise<boolean> =>
	new Promise((resolve, reject) => {
		const probe = createServer();
		probe.once("error", (error: NodeJS.ErrnoException) =>
			error.code === "EADDRINUSE" ? resolve(false) : reject(error),
		);
		probe.listen({ port, host: "127.0.0.1", exclusive: true }, () => probe.close(() => resolve(true)));
	});
