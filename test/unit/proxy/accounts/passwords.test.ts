import { describe, expect, it, vi } from "vitest";
import { Gate } from "../../../../proxy/accounts/gate.ts";
import { brokenRule, hashPassword, isBusy, verifyPassword } from "../../../../proxy/accounts/passwords.ts";

// A busy machine hashes slowly.
vi.setConfig({ testTimeout: 60_000 });

describe("password rules", () => {
	it.each([
		["too short", "elevenchars", /at least 12/],
		["too short in characters, not in bytes", "äöüäöüäöüäö", /at least 12/],
		["too long", "ab cd ".repeat(43), /at most 256/],
		["a NUL", "seven green\0bottles", /NUL/],
		["one character over and over", "aaaaaaaaaaaaaaaa", /first that anybody tries/],
		["a common one", "Password1234", /first that anybody tries/],
		["the user name over and over", "ada@labada@lab", /more than the user name/],
		["an API token", `eyJhbGciOi.eyJpc3MiOi.${"A".repeat(86)}`, /API token/],
	])("%s", (_name, password, rule) => {
		expect(brokenRule(password, "ada@lab")).toMatch(rule);
	});

	it.each(["seven green bottles", "äöü éèê ñ — 🍾🍾🍾", `${"a".repeat(250)}bcdef1`])(
		"takes %j",
		(password) => {
			expect(brokenRule(password, "ada")).toBeUndefined();
		},
	);
});

describe("argon2id", () => {
	it("fits the password it was made from, however its accents are composed, and no other", async () => {
		const stored = await hashPassword("crème brûlée für alle", "ada");
		expect(stored).toMatch(/^\$argon2id\$v=19\$m=19456,t=2,p=1\$[\w+/]{22}\$[\w+/]{43}$/);
		expect(await verifyPassword("crème brûlée für alle", stored)).toBe(true);
		expect(await verifyPassword("crème brûlée für alle".normalize("NFD"), stored)).toBe(true);
		expect(await verifyPassword("crème brûlée für allE", stored)).toBe(false);
		expect(await hashPassword("crème brûlée für alle", "ada")).not.toBe(stored);
	});

	it("agrees with another implementation (argon2-cffi 25.1.0, same password, salt and cost)", async () => {
		const made =
			"$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$Jyi1kVqbiORkXD8ugHPCOkcmMd+z7EKslZeov48nyNM";
		expect(await verifyPassword("seven green bottles", made)).toBe(true);
	});

	it("costs the same for nobody as for somebody", async () => {
		const stored = await hashPassword("seven green bottles", "ada");
		const time = async (against: string | null) => {
			const times: number[] = [];
			for (let round = 0; round < 7; round++) {
				const began = performance.now();
				expect(await verifyPassword("seven green bottle", against)).toBe(false);
				times.push(performance.now() - began);
			}
			return Math.min(...times);
		};
		await time(stored);
		const [somebody, nobody] = [await time(stored), await time(null)];
		expect(Math.max(somebody, nobody) / Math.min(somebody, nobody)).toBeLessThan(2);
	}, 30_000);
});

describe("a crowd of guessers", () => {
	it("waits in a line of its own, and is sent away when that is long; whoever is known does not wait behind it", async () => {
		const stored = await hashPassword("seven green bottles", "ada");
		let guesses = 0;
		const crowd = Array.from({ length: 100 }, () =>
			verifyPassword("a guess", stored)
				.catch((error) => error.code)
				.finally(() => guesses++),
		);
		expect(isBusy("stranger")).toBe(true);
		expect(isBusy("known")).toBe(false);
		expect(await verifyPassword("seven green bottles", stored, "known")).toBe(true);
		// One running, 64 waiting, the rest gone at once; of those that are looked at hardly one was before ours.
		expect(guesses).toBeLessThan(35 + 20);
		const ends = await Promise.all(crowd);
		expect(ends.filter((end) => end === false)).toHaveLength(65);
		expect(ends.filter((end) => end === "BUSY")).toHaveLength(35);
	});
});

describe("the gate before hashing", () => {
	it("lets two run, so many wait, and refuses the rest", async () => {
		const gate = new Gate(2, 3);
		let running = 0;
		let most = 0;
		const open: (() => void)[] = [];
		const work = async () => {
			most = Math.max(most, ++running);
			await new Promise<void>((resolve) => open.push(resolve));
			running--;
		};
		const all = Array.from({ length: 5 }, () => gate.run(work));
		expect(gate.full).toBe(true);
		await expect(gate.run(work)).rejects.toMatchObject({ code: "BUSY" });
		for (let done = 0; done < 5; done++) {
			await expect.poll(() => open.length).toBeGreaterThan(0);
			open.shift()?.();
		}
		await Promise.all(all);
		expect(most).toBe(2);
		expect(gate.full).toBe(false);
		await gate.run(async () => {});
	});

	it("frees the place of one that throws", async () => {
		const gate = new Gate(1, 0);
		await expect(gate.run(() => Promise.reject(new Error("no")))).rejects.toThrow("no");
		expect(await gate.run(async () => "in")).toBe("in");
	});
});
