import { describe, expect, it } from "vitest";
import { serveConfig } from "../../../infra/serve-config.ts";
import { CHECKS, hostOf } from "../../../ops/lib/funnel/checks.ts";
import type { Node } from "../../../ops/lib/funnel/node.ts";

const NAME = "gw.tail-scale.ts.net";
const inDays = (days: number) => new Date(Date.now() + days * 86_400_000 + 3_600_000);

type Changes = Partial<Omit<Node, "status">> & {
	status?: Partial<Omit<Node["status"], "Self">>;
	self?: Partial<NonNullable<Node["status"]["Self"]>>;
};

/** A node that is right in every way, but for the changes. */
function node({ status, self, ...more }: Changes = {}): Node {
	return {
		status: {
			BackendState: "Running",
			Health: null,
			CertDomains: [NAME],
			Self: {
				DNSName: `${NAME}.`,
				Online: true,
				KeyExpiry: inDays(150).toISOString(),
				CapMap: {
					https: null,
					funnel: null,
					"https://tailscale.com/cap/funnel-ports?ports=443,8443,10000": null,
				},
				...self,
			},
			...status,
		},
		served: serveConfig(NAME),
		wanted: "gw",
		domain: NAME,
		certificateEnds: inDays(60),
		lockedOut: false,
		doorHost: hostOf(NAME),
		...more,
	};
}

const wrong = (changes: Changes) => CHECKS.filter(({ look }) => look(node(changes))).map(({ name }) => name);
const caps = (...names: string[]) => ({
	self: { CapMap: Object.fromEntries(names.map((name) => [name, null])) },
});
const PORTS = "https://tailscale.com/cap/funnel-ports?ports=";

describe("the checks of the funnel", () => {
	it("find nothing wrong with a node that is right", () => expect(wrong({})).toEqual([]));

	it.each<[string, Changes, string[]]>([
		["was never joined", { status: { BackendState: "NeedsLogin" } }, ["joined"]],
		["waits to be approved", { status: { BackendState: "NeedsMachineAuth" } }, ["joined"]],
		["is in a state that nobody has heard of", { status: { BackendState: "Confused" } }, ["joined"]],
		["has an expired key", { self: { Expired: true, KeyExpiry: inDays(-2).toISOString() } }, ["joined"]],
		["has a key that ends soon", { self: { KeyExpiry: inDays(3).toISOString() } }, ["key"]],
		[
			"lost its control server",
			{ status: { Health: ["Unable to connect to the Tailscale coordination server"] } },
			["control server"],
		],
		["is offline", { self: { Online: false } }, ["control server"]],
		["found its name taken", { self: { DNSName: "gw-1.tail-scale.ts.net." } }, ["name"]],
		[
			"is in a tailnet without HTTPS",
			{ domain: undefined as never, status: { CertDomains: null }, served: {} },
			["HTTPS"],
		],
		["may have no certificates", caps("funnel", `${PORTS}443,8443`), ["https capability"]],
		["may not use Funnel", caps("https", `${PORTS}443,8443`), ["funnel capability"]],
		["may use Funnel elsewhere", caps("https", "funnel", `${PORTS}443,10000`), ["port 8443"]],
		["may use Funnel nowhere", caps("https", "funnel", PORTS), ["port 8443"]],
		[
			"has a capability of somebody else's",
			caps("https", "funnel", "https://evil.example/cap/funnel-ports?ports=8443"),
			["port 8443"],
		],
		["serves nothing", { served: {} }, ["served"]],
		["serves something else", { served: serveConfig("other.ts.net") }, ["served"]],
		["serves to the tailnet alone", { served: { ...serveConfig(NAME), AllowFunnel: {} } }, ["served"]],
		["is unknown to the door", { doorHost: null }, ["door"]],
		["is known to the door by an old name", { doorHost: "old.ts.net:8443" }, ["door"]],
		["is locked out", { lockedOut: true }, ["tailnet lock"]],
		["has no certificate", { certificateEnds: undefined as never }, ["certificate"]],
		["has a certificate that nobody renewed", { certificateEnds: inDays(2) }, ["certificate"]],
	])("a node that %s", (_what, changes, names) => {
		expect(wrong(changes)).toEqual(names);
		for (const { look } of CHECKS) {
			const trouble = look(node(changes));
			if (trouble)
				expect([trouble.what, trouble.fix]).toEqual([
					expect.stringMatching(/\.$/),
					expect.stringMatching(/\S/),
				]);
		}
	});

	it("take ports as lists and as ranges", () => {
		for (const ports of ["8443", "443,8443", "443-10000", "1-2,8000-9000"])
			expect(wrong(caps("https", "funnel", `${PORTS}${ports}`)), ports).toEqual([]);
	});

	it("a key that does not expire is none that ends soon", () => {
		expect(wrong({ self: { KeyExpiry: undefined as never } })).toEqual([]);
	});
});
