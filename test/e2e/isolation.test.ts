import { beforeAll, describe, expect, test } from "vitest";
import { docker, NAME, run, stackPort } from "../support/mlgate.ts";

/** Addresses of the door, by network name. */
let addresses: Record<string, string>;
let port: number;

beforeAll(async () => {
	port = await stackPort();
	const networks = JSON.parse(
		await docker("inspect", `${NAME}-door`, "--format", "{{json .NetworkSettings.Networks}}"),
	) as Record<string, { IPAddress: string }>;
	addresses = Object.fromEntries(
		Object.entries(networks).map(([name, { IPAddress }]) => [name.slice(NAME.length + 1), IPAddress]),
	);
});

/** Tries a TCP connection from inside a container's network; says "open" or "closed". */
async function reach(container: string, host: string, to: number): Promise<string> {
	const script = `use IO::Socket::INET; my $s = IO::Socket::INET->new(PeerAddr => "${host}", PeerPort => ${to}, Timeout => 3); print $s ? "open" : "closed";`;
	return docker("exec", container, "perl", "-e", script);
}

const FORGED = {
	"tailscale-user-login": "root@example.com",
	"tailscale-headers-info": "https://tailscale.com/s/serve-headers",
	"x-forwarded-for": "100.64.0.1",
	"x-remote-user": "admin",
};

describe("who reaches which listener", () => {
	test("the door has one address on each of its networks", () => {
		expect(Object.keys(addresses).sort()).toEqual(["clients", "data", "edge", "ident", "serve"]);
	});

	test("an unprivileged user of the host reaches the published port and none of the internal listeners", async () => {
		const script = (host: string, to: number) =>
			`use IO::Socket::INET; my $s = IO::Socket::INET->new(PeerAddr => "${host}", PeerPort => ${to}, Timeout => 2); print $s ? "open" : "closed";`;
		const asNobody = async (host: string, to: number) =>
			(
				await run("setpriv", [
					"--reuid=65534",
					"--regid=65534",
					"--clear-groups",
					"perl",
					"-e",
					script(host, to),
				])
			).stdout;
		expect(await asNobody("127.0.0.1", port)).toBe("open");
		for (const network of ["clients", "serve", "ident", "data"]) {
			expect([network, await asNobody(addresses[network] ?? "", 5000)]).toEqual([network, "closed"]);
		}
	});

	test.each(["mlflow", "minio", "postgres"])(
		"from %s the identity listener does not answer",
		async (part) => {
			const container = `${NAME}-${part}`;
			expect(await reach(container, addresses.ident ?? "", 5000)).toBe("closed");
			for (const network of ["data", "serve", "edge", "clients"]) {
				expect([network, await reach(container, addresses[network] ?? "", 5000)]).toEqual([
					network,
					"closed",
				]);
			}
		},
	);

	test("forged identity headers gain nothing on the published port", async () => {
		const answer = await fetch(`http://localhost:${port}/api/2.0/mlflow/experiments/search?max_results=1`, {
			headers: FORGED,
		});
		expect(answer.status).toBe(401);
	});

	test("a container on the clients network reaches the door as http://mlflow:5000 and nothing else of the stack", async () => {
		const names = {
			"mlflow:5000": "open",
			"tracking:5000": "closed",
			"minio:9000": "closed",
			"postgres:5432": "closed",
		};
		const script = Object.keys(names)
			.map(
				(target) =>
					`my $s = IO::Socket::INET->new(PeerAddr => "${target}", Timeout => 3); print "${target} ", ($s ? "open" : "closed"), "\\n";`,
			)
			.map((line, i) => line.replaceAll("$s", `$s${i}`))
			.join(" ");
		const image = await docker("inspect", `${NAME}-keeper`, "--format", "{{.Image}}");
		const said = await docker(
			"run",
			"--rm",
			"--network",
			`${NAME}-clients`,
			"--entrypoint",
			"perl",
			image,
			"-MIO::Socket::INET",
			"-e",
			script,
		);
		expect(Object.fromEntries(said.split("\n").map((line) => line.split(" ")))).toEqual(names);
	});

	test("only the door publishes a port, and only on the loopback address", async () => {
		const lines = await docker(
			"ps",
			"--filter",
			`label=mlgate.stack=${NAME}`,
			"--format",
			"{{.Names}} {{.Ports}}",
		);
		const published = lines.split("\n").filter((line) => line.includes("->"));
		expect(published).toHaveLength(1);
		expect(published[0]).toBe(`${NAME}-door 127.0.0.1:${port}->5000/tcp`);
	});
});
