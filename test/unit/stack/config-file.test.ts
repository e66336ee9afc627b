import {
	chmodSync,
	existsSync,
	mkdtempSync,
	readdirSync,
	readFileSync,
	rmSync,
	statSync,
	writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { OpsError } from "../../../ops/lib/errors.ts";
import {
	isSealed,
	presentSecrets,
	readConfig,
	readSettings,
	type StackRef,
	writeSetting,
} from "../../../ops/lib/stack/config-file.ts";

let ref: StackRef;
const path = () => join(ref.checkout, "Pulumi.local.yaml");
const write = (text: string) => writeFileSync(path(), text);

function problemOf(work: () => unknown): OpsError["problem"] {
	try {
		work();
	} catch (error) {
		if (error instanceof OpsError) return error.problem;
		throw error;
	}
	throw new Error("nothing was wrong");
}

beforeEach(() => {
	ref = { checkout: mkdtempSync(join(tmpdir(), "mlgate-config-")), stack: "local" };
});
afterEach(() => rmSync(ref.checkout, { recursive: true }));

/** As Pulumi writes it. */
const PULUMIS = `encryptionsalt: v1:abc=:v1:def:ghi
config:
  # Where the old server was.
  mlgate:port: "5001"
  mlgate:secret.postgres-mlflow:
    secure: v1:aaa:bbb
  docker:host: unix:///var/run/docker.sock
`;

describe("reading", () => {
	it("takes the defaults where there is no file", () => {
		expect(readSettings(ref).port).toBe(5000);
		expect(readConfig(ref).every(({ isDefault }) => isDefault)).toBe(true);
		expect(presentSecrets(ref)).toEqual([]);
		expect(isSealed(ref)).toBe(false);
		expect(readdirSync(ref.checkout)).toEqual([]);
	});

	it("reads what Pulumi wrote: our settings, not its own, and no secret", () => {
		write(PULUMIS);
		expect(readSettings(ref).port).toBe(5001);
		expect(readConfig(ref).find(({ key }) => key === "port")).toEqual({
			key: "port",
			value: 5001,
			isDefault: false,
		});
		expect(presentSecrets(ref)).toEqual(["secret.postgres-mlflow"]);
		expect(isSealed(ref)).toBe(true);
	});

	it("reads what a person wrote: numbers without quotes", () => {
		write("config:\n  mlgate:port: 5002\n  mlgate:mlflow.workers: 3\n");
		expect(readSettings(ref)).toMatchObject({ port: 5002, "mlflow.workers": 3 });
	});

	it("does not count a secret in clear as made, because it has been seen", () => {
		write("config:\n  mlgate:secret.minio-door: hunter2\n");
		expect(presentSecrets(ref)).toEqual([]);
	});

	it("says which line of a broken file is wrong", () => {
		write("config:\n  mlgate:port: [1\n");
		expect(problemOf(() => readSettings(ref))).toMatchObject({ code: "SETTINGS_UNREADABLE", kind: "usage" });
		expect(problemOf(() => readSettings(ref)).why).toMatch(/line 3/);
	});

	it("tells all that is wrong in one problem", () => {
		write("config:\n  mlgate:port: x\n  mlgate:prot: 1\n");
		const problem = problemOf(() => readSettings(ref));
		expect(problem).toMatchObject({ code: "SETTINGS_INVALID", kind: "usage" });
		expect(problem.what).toMatch(/^2 settings are not valid:\n.*mlgate:prot.*\n.*mlgate:port/);
	});

	it("leaves a single problem's own fix as the one thing to do", () => {
		write("config:\n  mlgate:port: x\n");
		expect(problemOf(() => readSettings(ref)).fix).toBe(
			"Set another value, for example 5000: npx mlgate config set port 5000",
		);
	});
});

describe("writing", () => {
	it("makes the file, for its owner alone, in the form that Pulumi writes", () => {
		writeSetting(ref, "port", "5003");
		expect(readFileSync(path(), "utf8")).toBe('config:\n  mlgate:port: "5003"\n');
		expect(statSync(path()).mode & 0o777).toBe(0o600);
	});

	it("changes one line and leaves the rest as it was, comments and permissions too", () => {
		write(PULUMIS);
		chmodSync(path(), 0o640);
		writeSetting(ref, "port", "5003");
		expect(readFileSync(path(), "utf8")).toBe(PULUMIS.replace("5001", "5003"));
		expect(statSync(path()).mode & 0o777).toBe(0o640);
		expect(readdirSync(ref.checkout)).toEqual(["Pulumi.local.yaml"]);
	});

	it.each([
		["prot", "1", "UNKNOWN_SETTING", /there is port/],
		["secret.minio-door", "hunter2", "UNKNOWN_SETTING", /no setting secret\.minio-door/],
		["port", "70000", "SETTINGS_INVALID", /`70000`/],
		["mlflow.workers", "16", "SETTINGS_INVALID", /too little for 548 connections/],
	])("refuses %s=%s and writes nothing", (key, value, code, what) => {
		expect(problemOf(() => writeSetting(ref, key, value))).toMatchObject({ code, kind: "usage" });
		expect(problemOf(() => writeSetting(ref, key, value)).what).toMatch(what);
		expect(existsSync(path())).toBe(false);
	});

	it("lets two bad settings be mended one after the other", () => {
		write("config:\n  mlgate:port: x\n  mlgate:mlflow.workers: y\n");
		writeSetting(ref, "port", "5000");
		writeSetting(ref, "mlflow.workers", "2");
		expect(readSettings(ref).port).toBe(5000);
	});

	it("does not let a bad setting hide behind one that was bad before", () => {
		write("config:\n  mlgate:port: x\n");
		expect(problemOf(() => writeSetting(ref, "port", "y")).what).toContain("`y`");
		expect(problemOf(() => writeSetting(ref, "port", "x")).what).toContain("`x`");
	});
});
