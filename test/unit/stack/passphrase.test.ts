import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { StackRef } from "../../../ops/lib/stack/config-file.ts";
import { passphraseEnv } from "../../../ops/lib/stack/passphrase.ts";

let ref: StackRef;
beforeEach(() => {
	ref = { checkout: mkdtempSync(join(tmpdir(), "mlgate-passphrase-")), stack: "local" };
});
afterEach(() => rmSync(ref.checkout, { recursive: true }));

const file = () => join(ref.checkout, ".mlgate", "passphrase");

describe("the passphrase", () => {
	it("is made on the first run, long, random, for its owner alone", () => {
		expect(passphraseEnv(ref, {})).toEqual({ PULUMI_CONFIG_PASSPHRASE_FILE: file() });
		expect(statSync(file()).mode & 0o777).toBe(0o600);
		expect(statSync(join(ref.checkout, ".mlgate")).mode & 0o777).toBe(0o700);
		expect(readFileSync(file(), "utf8")).toMatch(/^[\w-]{43}\n$/);
		expect(readdirSync(join(ref.checkout, ".mlgate"))).toEqual(["passphrase"]);
	});

	it("stays the same", () => {
		passphraseEnv(ref, {});
		const first = readFileSync(file(), "utf8");
		passphraseEnv(ref, {});
		expect(readFileSync(file(), "utf8")).toBe(first);
	});

	it.each([
		{ PULUMI_CONFIG_PASSPHRASE: "mine" },
		{ PULUMI_CONFIG_PASSPHRASE: "" },
		{ PULUMI_CONFIG_PASSPHRASE_FILE: "/elsewhere" },
	])("is the user's own if %o says so, and none is made", (env) => {
		expect(passphraseEnv(ref, env)).toEqual({});
		expect(readdirSync(ref.checkout)).toEqual([]);
	});

	it("is not made anew for what an earlier one has sealed: configuration", () => {
		writeFileSync(join(ref.checkout, "Pulumi.local.yaml"), "encryptionsalt: v1:x\n");
		expect(() => passphraseEnv(ref, {})).toThrow(/passphrase of the stack local is gone/);
		expect(readdirSync(ref.checkout)).toEqual(["Pulumi.local.yaml"]);
	});

	it("is not made anew for what an earlier one has sealed: state", () => {
		const stacks = join(ref.checkout, ".mlgate/state/.pulumi/stacks/mlgate");
		mkdirSync(stacks, { recursive: true });
		writeFileSync(join(stacks, "local.json"), "{}");
		expect(() => passphraseEnv(ref, {})).toThrow(/gone/);
		expect(() => passphraseEnv({ ...ref, stack: "other" }, {})).not.toThrow();
	});
});
