import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { hostname, tmpdir, userInfo } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { OpsError } from "../../../ops/lib/errors.ts";
import { acquireLock, type LockHolder } from "../../../ops/lib/lock.ts";
import { processIdentity } from "../../../ops/lib/processes.ts";
import { fixture, newCheckout } from "./spawned.ts";

const newFolder = () => mkdtempSync(join(tmpdir(), "mlgate-lock-"));

function acquire(folder: string, doing = "up") {
	const notes: string[] = [];
	return { lock: acquireLock({ folder, stack: "local", doing, note: (text) => notes.push(text) }), notes };
}

function refusal(work: () => unknown): OpsError {
	try {
		work();
	} catch (error) {
		if (error instanceof OpsError) return error;
		throw error;
	}
	throw new Error("the lock was given");
}

const leaveBehind = (folder: string, holder: Partial<LockHolder>) =>
	writeFileSync(
		join(folder, "local.lock"),
		JSON.stringify({
			who: "ada@there",
			host: hostname(),
			pid: 1,
			process: "",
			since: new Date(Date.now() - 3_600_000).toISOString(),
			doing: "up",
			id: "left behind",
			...holder,
		}),
	);

/** A pid that was used and is free again. */
async function deadPid(): Promise<number> {
	const child = spawn("true");
	await once(child, "exit");
	return child.pid as number;
}

describe("while a living process holds the lock", () => {
	test("a second one is refused with who, since when and what", () => {
		const folder = newFolder();
		const { lock } = acquire(folder, "destroy");
		const error = refusal(() => acquire(folder));
		expect(error.exitCode).toBe(4);
		expect(error.problem.why).toContain(`${userInfo().username}@${hostname()}`);
		expect(error.problem.what).toContain("`destroy`");
		expect(error.problem.why).toMatch(/at \d{4}-\d\d-\d\dT/);
		lock.release();
		acquire(folder).lock.release();
	});

	test("another stack has a lock of its own", () => {
		const folder = newFolder();
		acquire(folder);
		const other = acquireLock({ folder, stack: "other", doing: "up", note() {} });
		expect(readdirSync(folder).sort()).toEqual(["local.lock", "other.lock"]);
		other.release();
	});

	test("a second command ends 4 and the first goes on", async () => {
		const checkout = newCheckout();
		const first = fixture(checkout, ["hold", newCheckout()]);
		await first.said("holding");
		const second = await fixture(checkout, ["refuse", "--json"]).ended;
		expect(second.code).toBe(4);
		expect(JSON.parse(second.stdout).error).toMatchObject({ code: "LOCKED" });
		expect(JSON.parse(second.stdout).error.what).toContain("`hold`");
		expect((await fixture(checkout, ["answer"]).ended).code).toBe(0);
		first.child.kill("SIGINT");
		await first.ended;
		expect((await fixture(checkout, ["refuse"]).ended).code).toBe(3);
	});

	test("a holder on another host counts as alive", async () => {
		const folder = newFolder();
		leaveBehind(folder, { host: "elsewhere", pid: await deadPid() });
		expect(refusal(() => acquire(folder)).problem.why).toContain("elsewhere");
	});
});

describe("a lock that was left behind", () => {
	test("by a process that is gone is taken over, with a note", async () => {
		const folder = newFolder();
		leaveBehind(folder, { pid: await deadPid(), process: "some boot/1" });
		const { notes } = acquire(folder);
		expect(notes.join()).toContain("ada@there");
		expect(JSON.parse(readFileSync(join(folder, "local.lock"), "utf8"))).toMatchObject({ pid: process.pid });
		expect(refusal(() => acquire(folder)).exitCode).toBe(4);
	});

	test("by a killed command is taken over by the next one", async () => {
		const checkout = newCheckout();
		const first = fixture(checkout, ["stubborn"]);
		await first.said("holding");
		first.child.kill("SIGKILL");
		await first.ended;
		const second = await fixture(checkout, ["refuse"]).ended;
		expect(second.code).toBe(3);
		expect(second.stderr).toContain("Took over the lock");
	});

	test("whose pid belongs to a later process by now is taken over", () => {
		const folder = newFolder();
		const identity = processIdentity(process.pid) as string;
		leaveBehind(folder, {
			pid: process.pid,
			process: identity.replace(/\d+$/, (start) => String(Number(start) - 1)),
		});
		expect(acquire(folder).notes.join()).toContain("Took over");
	});

	test("before a reboot is taken over though pid and start time are the same", () => {
		const folder = newFolder();
		const identity = processIdentity(process.pid) as string;
		leaveBehind(folder, { pid: process.pid, process: identity.replace(/^[^/]+/, "another-boot") });
		expect(acquire(folder).notes.join()).toContain("Took over");
	});

	test("damaged is taken over", () => {
		const folder = newFolder();
		writeFileSync(join(folder, "local.lock"), "{");
		expect(acquire(folder).notes.join()).toContain("damaged");
	});

	test("in the middle of a takeover does not stop the next one", async () => {
		const folder = newFolder();
		leaveBehind(folder, { pid: await deadPid() });
		writeFileSync(join(folder, "local.lock.takeover"), readFileSync(join(folder, "local.lock")));
		acquire(folder);
		expect(readdirSync(folder)).toEqual(["local.lock"]);
	});
});

test("of many processes that find a stale lock at once, exactly one gets it", async () => {
	const checkout = newCheckout();
	const dead = fixture(checkout, ["stubborn"]);
	await dead.said("holding");
	dead.child.kill("SIGKILL");
	await dead.ended;
	const marks = newCheckout();
	const all = Array.from({ length: 6 }, () => fixture(checkout, ["hold", marks]));
	const winner = await Promise.any(all.map((one) => one.said("holding").then(() => one)));
	const losers = await Promise.all(all.filter((one) => one !== winner).map((one) => one.ended));
	expect(losers.map(({ code }) => code)).toEqual([4, 4, 4, 4, 4]);
	winner.child.kill("SIGINT");
	expect((await winner.ended).code).toBe(130);
}, 30_000);

test("releasing does not remove the lock of a successor", () => {
	const folder = newFolder();
	const { lock } = acquire(folder);
	leaveBehind(folder, {});
	lock.release();
	expect(readdirSync(folder)).toEqual(["local.lock"]);
});
