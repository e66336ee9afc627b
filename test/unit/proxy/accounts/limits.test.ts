import { describe, expect, it } from "vitest";
import { LIMITS, networkOf, type Place, SignInLimits } from "../../../../proxy/accounts/limits.ts";

const from = (address: string, more: Partial<Place> = {}): Place => ({ listener: "ident", address, ...more });

/** Makes wrong tries until one is refused; how many went through. */
async function triesUntilRefused(
	limits: SignInLimits,
	user: string,
	place: Place,
	most = 200,
): Promise<number> {
	for (let count = 0; count < most; count++) {
		if ("wait" in (await limits.begin(user, place))) return count;
	}
	return most;
}

describe("networks", () => {
	it.each([
		["203.0.113.7", "203.0.113.7"],
		["::ffff:203.0.113.7", "203.0.113.7"],
		["2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"],
		["2001:DB8:1:2::", "2001:db8:1:2::/64"],
		["2001:db8::5", "2001:db8:0:0::/64"],
		["2001:0db8:0001:0002:ffff::1", "2001:db8:1:2::/64"],
		["fe80::1%eth0", "fe80:0:0:0::/64"],
		["::1", "0:0:0:0::/64"],
		["", ""],
	])("%s -> %s", (address, network) => expect(networkOf(address)).toBe(network));
});

describe("sign-in limits", () => {
	it("give one user from one address ten tries, and tell how long to wait", async () => {
		const limits = new SignInLimits(LIMITS);
		expect(await triesUntilRefused(limits, "ada", from("203.0.113.7"))).toBe(10);
		const wait = await limits.wait("ada", from("203.0.113.7"));
		expect(wait).toBeGreaterThan(895);
		expect(wait).toBeLessThanOrEqual(900);
	});

	it("lock nobody out: the same user gets in from elsewhere, and others from there", async () => {
		const limits = new SignInLimits(LIMITS);
		await triesUntilRefused(limits, "ada", from("203.0.113.7"));
		expect(await limits.wait("ada", from("198.51.100.1"))).toBe(0);
		expect(await limits.wait("grace", from("203.0.113.7"))).toBe(0);
		expect(await limits.wait("ada", from("203.0.113.7", { listener: "clients" }))).toBe(0);
	});

	it("let one address try sixty times over all users, and count a whole IPv6 /64 as one", async () => {
		const limits = new SignInLimits(LIMITS);
		let tries = 0;
		for (let user = 0; user < 100; user++) {
			const attempt = await limits.begin(`user-${user}`, from(`2001:db8::${user.toString(16)}`));
			if (!("wait" in attempt)) tries++;
		}
		expect(tries).toBe(60);
		expect("wait" in (await limits.begin("fresh", from("2001:db8::ffff")))).toBe(true);
		expect("wait" in (await limits.begin("fresh", from("2001:db8:0:1::1")))).toBe(false);
	});

	it("keep nothing of the names that an address makes up once it has had its tries", async () => {
		const limits = new SignInLimits(LIMITS);
		for (let user = 0; user < 2_000; user++) await limits.begin(`user-${user}`, from("203.0.113.7"));
		expect(limits.size).toBe(61);
	});

	it("count tries before they end: a thousand at once are not a thousand first ones", async () => {
		const limits = new SignInLimits(LIMITS);
		const all = await Promise.all(
			Array.from({ length: 1000 }, () => limits.begin("ada", from("203.0.113.7"))),
		);
		expect(all.filter((attempt) => !("wait" in attempt))).toHaveLength(10);
	});

	it("forget the slips of whoever then knows the password, but not the address's", async () => {
		const limits = new SignInLimits(LIMITS);
		for (let round = 0; round < 6; round++) {
			for (let slip = 0; slip < 9; slip++) await limits.begin("ada", from("203.0.113.7"));
			const attempt = await limits.begin("ada", from("203.0.113.7"));
			if (!("wait" in attempt)) await attempt.giveBack(true);
		}
		// Six times nine slips, and each success given back.
		expect(await triesUntilRefused(limits, "grace", from("203.0.113.7"))).toBe(6);
	});

	it("give back a try whose password was never looked at", async () => {
		const limits = new SignInLimits(LIMITS);
		for (let round = 0; round < 50; round++) {
			const attempt = await limits.begin("ada", from("203.0.113.7"));
			if (!("wait" in attempt)) await attempt.giveBack(false);
		}
		expect(await triesUntilRefused(limits, "ada", from("203.0.113.7"))).toBe(10);
	});

	it("count for nothing by address on the loopback port, where all clients have one", async () => {
		const limits = new SignInLimits(LIMITS);
		const edge = from("172.18.0.1", { listener: "edge" });
		for (let user = 0; user < 200; user++) {
			expect("wait" in (await limits.begin(`user-${user}`, edge))).toBe(false);
		}
		expect(await triesUntilRefused(limits, "ada", edge)).toBe(10);
		expect(await limits.wait("ada", edge)).toBeLessThanOrEqual(60);
		expect(await limits.wait("grace", edge)).toBe(0);
	});

	it("keep a browser that has signed in before apart from whoever is guessing", async () => {
		const limits = new SignInLimits(LIMITS);
		for (const listener of ["edge", "ident"] as const) {
			const place = from("203.0.113.7", { listener });
			await triesUntilRefused(limits, "ada", place);
			expect(await limits.wait("ada", place)).toBeGreaterThan(0);
			expect(await limits.wait("ada", { ...place, device: `mine-${listener}` })).toBe(0);
			expect(await triesUntilRefused(limits, "ada", { ...place, device: `mine-${listener}` })).toBe(10);
		}
	});
});
