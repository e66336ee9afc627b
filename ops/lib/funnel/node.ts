/** What the node in the tailnet says of itself: its own command line, asked in its container. */
import { X509Certificate } from "node:crypto";
import { PATH } from "../../../infra/contract.ts";
import type { ServeConfig } from "../../../infra/serve-config.ts";
import { type Container, docker, start } from "../docker.ts";
import { OpsError } from "../errors.ts";

/** The parts of `tailscale status --json` that we read. */
export interface NodeStatus {
	/** `Running` once it has joined. */
	BackendState: string;
	/** What it complains about. */
	Health: readonly string[] | null;
	/** Names that it may have certificates for; none while the tailnet has HTTPS switched off. */
	CertDomains: readonly string[] | null;
	Self: {
		DNSName: string;
		Online: boolean;
		/** ISO time; absent if its key never expires. */
		KeyExpiry?: string;
		Expired?: boolean;
		/** What the tailnet grants it. */
		CapMap?: Readonly<Record<string, unknown>>;
	} | null;
}

export interface Node {
	status: NodeStatus;
	/** What it serves now. */
	served: Partial<ServeConfig>;
	/** As the settings want it to be called. */
	wanted: string;
	/** The first name that it may have a certificate for. */
	domain?: string;
	/** When its certificate ends, if it has one. */
	certificateEnds?: Date;
	/** The tailnet is locked, and nobody has signed this node. */
	lockedOut: boolean;
	/** The Host of public requests, as the door knows it. */
	doorHost: string | null;
}

/** The parts of `tailscale lock status --json` that we read. */
interface LockStatus {
	Enabled?: boolean;
	NodeKeySigned?: boolean;
}

const TIMEOUT_MS = 20_000;
/** An engine under load now and then loses what a short command has said. */
const TRIES = 3;

/** `docker exec <container> tailscale <args>` */
export const tailscale = (container: Container, args: readonly string[], input?: string): Promise<string> =>
	docker(
		[
			...["exec", ...(input === undefined ? [] : ["-i"]), container.Id],
			...["tailscale", `--socket=${PATH.tailscaleSocket}`, ...args],
		],
		{ timeoutMs: TIMEOUT_MS, ...(input === undefined ? {} : { input }) },
	);

/** The same for what answers with JSON. @throws OpsError DOCKER_FAILED, NODE_SILENT */
export async function askJson<T>(container: Container, args: readonly string[]): Promise<T> {
	for (let left = TRIES; left > 0; left--) {
		const text = await tailscale(container, args);
		if (text.trim() !== "") return JSON.parse(text) as T;
	}
	throw new OpsError({
		code: "NODE_SILENT",
		kind: "unhealthy",
		what: `The node in the tailnet says nothing to \`tailscale ${args.join(" ")}\`.`,
		fix: "npx mlgate logs tailscale --tail 50",
	});
}

/** @throws OpsError DOCKER_FAILED while the daemon does not answer, NODE_SILENT */
export async function askNode(container: Container, doorHost: string | null): Promise<Node> {
	const json = <T>(...args: string[]) => askJson<T>(container, args);
	const [status, served, lock] = await Promise.all([
		json<NodeStatus>("status", "--json"),
		json<Partial<ServeConfig>>("serve", "status", "--json"),
		// Asks the control server, too; where there is none of it there is no lock.
		json<LockStatus>("lock", "status", "--json").catch((): LockStatus => ({})),
	]);
	const domain = status.CertDomains?.[0];
	const certificateEnds = domain === undefined ? undefined : await endOfCertificate(container, domain);
	return {
		status,
		served,
		wanted: wantedName(container),
		...(domain === undefined ? {} : { domain }),
		...(certificateEnds && { certificateEnds }),
		lockedOut: lock.Enabled === true && lock.NodeKeySigned === false,
		doorHost,
	};
}

const wantedName = ({ Config: { Env } }: Container): string =>
	Env.find((line) => line.startsWith("TS_HOSTNAME="))?.split("=")[1] ?? "";

async function endOfCertificate(container: Container, domain: string): Promise<Date | undefined> {
	const { exitCode, stdout } = await start(
		["exec", container.Id, "cat", `${PATH.data.tailscale}/certs/${domain}.crt`],
		{ timeoutMs: TIMEOUT_MS },
	);
	if (exitCode !== 0) return undefined;
	return new X509Certificate(stdout).validToDate;
}
