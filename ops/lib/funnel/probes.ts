/** The other half of `verify funnel`: what the public gets, and what nobody may get. */
import { Resolver } from "node:dns/promises";
import { networkInterfaces } from "node:os";
import { Agent, request } from "undici";
import { ALIAS, PARTS, type Part, PORT } from "../../../infra/contract.ts";
import { type Container, containersOf, docker, partOf } from "../docker.ts";
import type { Identity } from "../identity.ts";
import { LOOPBACK } from "../port.ts";
import { list } from "../text.ts";
import { hostOf } from "./checks.ts";
import type { Seen } from "./examine.ts";

const TIMEOUT_MS = 8_000;

/** Not the host's resolver: on a machine of the tailnet that one leads to the node itself. */
const PUBLIC_RESOLVERS = ["1.1.1.1", "8.8.8.8"];

/** The public address of the URL, TLS with a certificate that everybody trusts, and the door's own answer there. */
export async function fromOutside(domain: string): Promise<Seen[]> {
	const resolver = new Resolver({ timeout: 2_000, tries: 1 });
	resolver.setServers(PUBLIC_RESOLVERS);
	let address: string | undefined;
	try {
		[address] = await resolver.resolve4(domain);
	} catch (error) {
		const { code } = error as NodeJS.ErrnoException;
		if (code === "ENOTFOUND" || code === "ENODATA") {
			return [
				{
					name: "public name",
					ok: false,
					what: `${domain} has no public address.`,
					fix: "Tailscale publishes it within some 10 minutes of the first start; look again then.",
				},
			];
		}
		return [
			{ name: "from outside", ok: true, detail: `not looked at: no public name server answers (${code})` },
		];
	}
	return [
		{ name: "public name", ok: true, detail: address ?? "" },
		await publicAnswer(domain, address ?? ""),
	];
}

/** A stranger asks who they are: 401, with the door's own mark. */
async function publicAnswer(domain: string, address: string): Promise<Seen> {
	const name = "public answer";
	const dispatcher = new Agent({
		connect: { lookup: (_host, _options, done) => done(null, [{ address, family: 4 }]) },
	});
	try {
		const { statusCode, headers, body } = await request(`https://${hostOf(domain)}/door/whoami`, {
			dispatcher,
			signal: AbortSignal.timeout(TIMEOUT_MS),
		});
		await body.dump();
		if (statusCode === 401 && headers["x-door-error"] === "NO_CREDENTIAL") return { name, ok: true };
		return {
			name,
			ok: false,
			what: `${hostOf(domain)} answered ${statusCode} from outside, and that was not the door.`,
			fix: "npx mlgate logs door --tail 50",
		};
	} catch (error) {
		const { message, cause } = error as Error;
		return {
			name,
			ok: false,
			what: `${hostOf(domain)} cannot be reached from outside: ${(cause as Error | undefined)?.message ?? message}.`,
			fix: "npx mlgate verify funnel --fix; if it stays so, look at https://status.tailscale.com",
		};
	} finally {
		await dispatcher.close();
	}
}

/** Where each part listens inside the stack. */
const LISTENING: Readonly<Partial<Record<Part, readonly number[]>>> = {
	postgres: [PORT.postgres],
	minio: [PORT.minio],
	mlflow: [PORT.mlflow],
	api: [PORT.api],
	door: [PORT.door, PORT.metrics],
};

/** Asks each address once, all at the same time, and tells those that answered. Bash can do that by itself. */
const REACH =
	'for at in "$@"; do (timeout 2 bash -c "exec 3<>/dev/tcp/$' +
	"{at%:*}/$" +
	'{at#*:}" 2>/dev/null && echo "$at") & done; wait';

/** An address for documentation (RFC 5737): nobody has it. */
const NOWHERE = `198.51.100.7:${PORT.door}`;

const isOwn = (network: string): boolean => network.endsWith("-ident") || network.endsWith("-uplink");

/** From the node nothing can be reached but the door's own listener for it. */
export async function fromTheNode(name: string, node: Container): Promise<Seen> {
	const containers = await containersOf(name);
	const door = `${ALIAS.door("ident")}:${PORT.door}`;
	const others = new Map<string, string>();
	for (const part of PARTS) {
		const container = containers.find((one) => partOf(one) === part);
		for (const [network, { IPAddress }] of Object.entries(container?.NetworkSettings.Networks ?? {})) {
			if (part === "tailscale" || IPAddress === "") continue;
			const ours = part === "door" && network.endsWith("-ident");
			for (const port of LISTENING[part] ?? []) {
				if (ours && port === PORT.door) continue;
				others.set(`${IPAddress}:${port}`, `${part} (${IPAddress}:${port})`);
			}
		}
	}
	const reached = new Set(
		(await docker(["exec", node.Id, "bash", "-c", REACH, "reach", door, NOWHERE, ...others.keys()])).split(
			"\n",
		),
	);
	// Where something on the way out answers whatever is asked for, an answer says nothing.
	const blind = reached.has(NOWHERE);
	const open = [
		...Object.keys(node.NetworkSettings.Networks).filter((one) => !isOwn(one)),
		...(blind ? [] : [...others].filter(([address]) => reached.has(address)).map(([, what]) => what)),
	];
	if (open.length > 0) {
		return {
			name: "nothing else",
			ok: false,
			what: `From the node in the tailnet ${list(open)} can be reached, which must not be.`,
			fix: "Take it off the stack's networks that are not its own (docker network disconnect), then npm start",
		};
	}
	if (!reached.has(door)) {
		return {
			name: "nothing else",
			ok: false,
			what: "The node in the tailnet does not reach the door.",
			fix: "npm start",
		};
	}
	const detail = blind
		? "it is on its own networks alone (something on the way out answers every connection, so none was tried)"
		: `${others.size} inner addresses closed to it`;
	return { name: "nothing else", ok: true, detail };
}

/** On the host's own addresses nothing of the stack answers: what is public is public through the funnel alone. */
export async function fromTheHost({ name, port }: Identity): Promise<Seen> {
	const published = (await containersOf(name)).flatMap(({ Name, HostConfig }) =>
		Object.values(HostConfig.PortBindings ?? {}).flatMap((bindings) =>
			(bindings ?? [])
				.filter(({ HostIp }) => HostIp !== LOOPBACK)
				.map(({ HostIp, HostPort }) => `${Name.slice(1)} on ${HostIp || "every address"}:${HostPort}`),
		),
	);
	const addresses = Object.values(networkInterfaces())
		.flatMap((found) => found ?? [])
		.filter(({ family, internal }) => family === "IPv4" && !internal)
		.map(({ address }) => address);
	const answers = await Promise.all(addresses.map((address) => isDoor(`http://${address}:${port}`)));
	const open = [
		...published,
		...addresses.filter((_, i) => answers[i]).map((one) => `the door on ${one}:${port}`),
	];
	if (open.length === 0) return { name: "host", ok: true, detail: `closed on ${list(addresses)}` };
	return {
		name: "host",
		ok: false,
		what: `This host's own addresses lead to ${list(open)}.`,
		fix: "Remove what forwards them (a proxy, a firewall rule), then npm start",
	};
}

async function isDoor(origin: string): Promise<boolean> {
	try {
		const { body } = await request(`${origin}/door/health`, { signal: AbortSignal.timeout(2_000) });
		return (await body.text()).trim() === '{"status":"ok"}';
	} catch {
		return false;
	}
}
