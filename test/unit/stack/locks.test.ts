import { type ChildProcess, spawn } from "node:child_process";
import {
	copyFileSync,
	existsSync,
	mkdirSync,
	mkdtempSync,
	readFileSync,
	rmSync,
	writeFileSync,
} from "node:fs";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { StackRef } from "../../../ops/lib/stack/config-file.ts";
import { isDead, pulumiLocks, removeLock, removeTornNotes } from "../../../ops/lib/stack/locks.ts";

let ref: StackRef;
let folder: string;
const children: ChildProcess[] = [];

beforeEach(() => {
	ref = { checkout: mkdtempSync(join(tmpdir(), "mlgate-locks-")), stack: "local" };
	folder = join(ref.checkout, ".mlgate/state/.pulumi/locks/organization/mlgate/local");
});
afterEach(() => {
	for (const child of children.splice(0)) child.kill("SIGKILL");
	rmSync(ref.checkout, { recursive: true });
});

/** As Pulumi's backend writes it. */
function lock(pid: number, host = hostname()): void {
	mkdirSync(folder, { recursive: true });
	const file = join(folder, `${pid}.json`);
	writeFileSync(
		file,
		JSON.stringify({ pid, username: "me", hostname: host, timestamp: "2026-01-01T00:00:00Z" }),
	);
	writeFileSync(`${file}.attrs`, "{}");
}

/** A process that the kernel knows under the name of `program`, in a session of its own if it `leads`. */
async function running(program: string, leads = false): Promise<number> {
	const path = join(ref.checkout, program);
	copyFileSync("/bin/sleep", path);
	const child = spawn(path, ["60"], { detached: leads, stdio: "ignore" });
	children.push(child);
	await new Promise((resolve) => child.once("spawn", resolve));
	return child.pid ?? 0;
}

async function ended(): Promise<number> {
	const child = spawn("/bin/true");
	await new Promise((resolve) => child.once("close", resolve));
	return child.pid ?? 0;
}

const alive = (pid: number): boolean => {
	const child = children.find((one) => one.pid === pid);
	return child?.exitCode === null && child.signalCode === null;
};

describe("locks of Pulumi", () => {
	it("are none where none was ever held", () => {
		expect(pulumiLocks(ref)).toEqual([]);
	});

	it("say who holds them since when", () => {
		lock(4711, "elsewhere");
		expect(pulumiLocks(ref)).toEqual([
			{
				path: join(folder, "4711.json"),
				pid: 4711,
				hostname: "elsewhere",
				username: "me",
				since: "2026-01-01T00:00:00Z",
			},
		]);
	});

	it("are dead when their process has ended, and can be removed whole", async () => {
		lock(await ended());
		const [held] = pulumiLocks(ref);
		expect(held && isDead(held)).toBe(true);
		if (held) removeLock(held);
		expect(pulumiLocks(ref)).toEqual([]);
		expect(existsSync(`${held?.path}.attrs`)).toBe(false);
	});

	it("are dead when their process was killed and nobody has reaped it", async () => {
		copyFileSync("/bin/sleep", join(ref.checkout, "pulumi"));
		// The shell becomes a program that never asks for its children's ends.
		const careless = spawn("sh", ["-c", `"${ref.checkout}/pulumi" 60 & echo $!; exec sleep 60`]);
		children.push(careless);
		const pid = Number(await new Promise((resolve) => careless.stdout.once("data", resolve)));
		const state = () => /^State:\s+(\w)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
		const name = () => readFileSync(`/proc/${pid}/comm`, "utf8").trim();
		await expect.poll(name).toBe("pulumi");
		lock(pid);
		expect(pulumiLocks(ref).map(isDead)).toEqual([false]);
		process.kill(pid, "SIGKILL");
		await expect.poll(state).toBe("Z");
		expect(pulumiLocks(ref).map(isDead)).toEqual([true]);
	});

	it("are dead when another program has got the number by now", async () => {
		lock(process.pid);
		expect(pulumiLocks(ref).map(isDead)).toEqual([true]);
	});

	it("are alive while a pulumi runs under the number", async () => {
		lock(await running("pulumi"));
		expect(pulumiLocks(ref).map(isDead)).toEqual([false]);
	});

	it("are never dead if another machine made them, whose processes we do not see", async () => {
		lock(await ended(), "elsewhere");
		expect(pulumiLocks(ref).map(isDead)).toEqual([false]);
	});

	it("take the plugins of the dead run along, and no others", async () => {
		// A session leader stands for the run: its plugin is in the session that carries its number.
		const plugin = await running("pulumi-resource-docker", true);
		const innocent = await running("pulumi-resource-other");
		lock(plugin);
		for (const held of pulumiLocks(ref)) removeLock(held);
		await expect.poll(() => alive(plugin)).toBe(false);
		expect(alive(innocent)).toBe(true);
	});
});

describe("what the backend notes beside a stack's state", () => {
	it("goes when a killed run has left half of it, and only then", () => {
		const states = join(ref.checkout, ".mlgate/state/.pulumi/stacks/mlgate");
		mkdirSync(states, { recursive: true });
		const whole = ["local.json", "local.json.bak.attrs", "other.json.attrs"];
		for (const name of [...whole, "local.json.attrs"])
			writeFileSync(join(states, name), name === "local.json.bak.attrs" ? '{"md5":""}' : "");
		removeTornNotes(ref);
		expect(whole.map((name) => existsSync(join(states, name)))).toEqual([true, true, true]);
		expect(existsSync(join(states, "local.json.attrs"))).toBe(false);
	});
});
