/** The simulated tailnet and Funnel (test/funnelsim) beside the test's stack, and clients that come through it. */
import { randomBytes } from "node:crypto";
import { request } from "node:https";
import { imageRef } from "../../infra/images.ts";
import { goBuild } from "../../ops/lib/go.ts";
import { docker, NAME, run } from "./mlgate.ts";

const CONTAINER = `${NAME}-funnelsim`;
const VOLUME = `${NAME}-tailscale-data`;

/** Where a request comes from: the public internet, or a member of the tailnet. */
export type Way = "funnel" | "tailnet";
const PORTS: Readonly<Record<Way, number>> = { funnel: 8443, tailnet: 8444 };

export interface Said {
	status: number;
	headers: Record<string, string | string[] | undefined>;
	text: string;
	/** The door's own code. */
	error: string | undefined;
}

export interface Sent {
	method?: string;
	headers?: Record<string, string | readonly string[]>;
	body?: string | Buffer;
}

export interface FunnelSim {
	/** What only a node with this key may join by. */
	authKey: string;
	controlUrl: string;
	/** The simulator's own address, as the host and the stack see it. */
	address: string;
	/** The gateway's name: `gateway.tail-scale.ts.net`. */
	name: string;
	/** PEM. */
	ca: string;
	member: { login: string; address: string };
	/** Asks or changes something: see admin.go. */
	// biome-ignore lint/suspicious/noExplicitAny: each test names the fields it looks at
	admin(method: "GET" | "POST", path: string): Promise<any>;
	/** Makes the gateway a new node: nothing is left of its state but a certificate. It must not run. */
	forget(): Promise<void>;
	/** One request to the public URL. Fails if the connection does. */
	send(way: Way, path: string, sent?: Sent): Promise<Said>;
	stop(): Promise<void>;
}

async function binary(): Promise<string> {
	const report = { log: () => {}, note: () => {}, step: () => Promise.reject(new Error("no step")) };
	return goBuild(
		report as never,
		{ detail: () => {} },
		{ module: "test/funnelsim", package: ".", ldflags: "-s -w", output: "funnelsim" },
		{ yes: true, interactive: false },
	);
}

/** On the stack's network that leads out, as Tailscale's servers are. */
export async function startFunnelSim(gateway: string): Promise<FunnelSim> {
	const authKey = `tskey-auth-${randomBytes(12).toString("hex")}`;
	const program = await binary();
	await run("docker", ["rm", "-f", CONTAINER]);
	await docker(
		...["run", "--detach", "--name", CONTAINER, "--network", `${NAME}-uplink`, "--tmpfs", "/tmp"],
		...["--volume", `${program}:/funnelsim:ro`, "--entrypoint", "sh", imageRef("keeper"), "-c"],
		`exec /funnelsim -address "$(hostname -i)" -gateway ${gateway} -auth-key ${authKey}`,
	);
	return attach(authKey, true);
}

/** The one that runs. @param fresh the node's state is to begin anew, with its certificate */
export async function attach(authKey: string, fresh = false): Promise<FunnelSim> {
	const address = await docker(
		...["inspect", CONTAINER, "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"],
	);
	const admin = async (method: "GET" | "POST", path: string) => {
		const answer = await fetch(`http://${address}:9912${path}`, { method });
		const text = await answer.text();
		if (!answer.ok) throw new Error(`funnelsim, ${method} ${path}: ${text}`);
		return JSON.parse(text);
	};
	const { name, certificate, member } = await patiently(() => admin("GET", "/"));
	if (fresh) await seed(certificate);
	return {
		...{ authKey, controlUrl: `http://${address}:9911`, address, name, ca: certificate.ca, member, admin },
		send: (way, path, sent = {}) => send({ address, port: PORTS[way], name, ca: certificate.ca }, path, sent),
		forget: () => seed(certificate),
		stop: async () => {
			await run("docker", ["rm", "-f", CONTAINER]);
		},
	};
}

/** Puts the certificate where the node would keep one of Let's Encrypt's, and the authority where it takes it from. */
async function seed(certificate: { ca: string; chain: string; key: string }): Promise<void> {
	const script = `set -eu; cd /state; find . -mindepth 1 -delete; mkdir certs; node=gateway.tail-scale.ts.net
printf %s "$CA" >extra-ca.pem; printf %s "$CHAIN" >certs/$node.crt; printf %s "$KEY" >certs/$node.key
chmod -R go= .; chown -R 10007:10007 .`;
	const env = { CA: certificate.ca, CHAIN: certificate.chain, KEY: certificate.key };
	const ended = await run(
		"docker",
		[
			...["run", "--rm", "--user", "0", "--network", "none", "--volume", `${VOLUME}:/state`],
			...Object.keys(env).flatMap((name) => ["--env", name]),
			...["--entrypoint", "sh", imageRef("keeper"), "-c", script],
		],
		{ env },
	);
	if (ended.code !== 0) throw new Error(`the certificate could not be put into ${VOLUME}: ${ended.stderr}`);
}

/** Two nodes have to join first. */
async function patiently<T>(ask: () => Promise<T>): Promise<T> {
	for (let left = 60; ; left--) {
		try {
			return await ask();
		} catch (error) {
			if (left === 0)
				throw new Error(`funnelsim did not start: ${await docker("logs", CONTAINER)}`, { cause: error });
			await new Promise((resolve) => setTimeout(resolve, 500));
		}
	}
}

function send(
	at: { address: string; port: number; name: string; ca: string },
	path: string,
	{ method = "GET", headers = {}, body = "" }: Sent,
): Promise<Said> {
	return new Promise((resolve, reject) => {
		const req = request(
			{
				...{ host: at.address, port: at.port, servername: at.name, ca: at.ca, path, method, agent: false },
				headers: { host: `${at.name}:8443`, ...headers } as never,
				timeout: 30_000,
			},
			(res) => {
				let text = "";
				res.setEncoding("utf8").on("data", (chunk) => {
					text += chunk;
				});
				res.on("error", reject);
				res.on("end", () =>
					resolve({
						status: res.statusCode ?? 0,
						headers: res.headers,
						text,
						error: res.headers["x-door-error"] as string | undefined,
					}),
				);
			},
		);
		req.on("timeout", () => req.destroy(new Error("no answer in 30 s")));
		req.on("error", reject);
		req.end(body);
	});
}
