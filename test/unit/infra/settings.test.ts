import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { SECRET_KEYS } from "../../../infra/secret-keys.ts";
import {
	databaseConnections,
	nearest,
	parseSettings,
	SETTING_KEYS,
	SETTINGS,
	type Setting,
	SettingsError,
	settingsMarkdown,
} from "../../../infra/settings.ts";

function problems(raw: Record<string, string>, stack = "local"): SettingsError["problems"] {
	try {
		parseSettings(raw, stack);
		return [];
	} catch (error) {
		if (error instanceof SettingsError) return error.problems;
		throw error;
	}
}

describe("settings", () => {
	it("have a default each, good together", () => {
		expect(parseSettings({}, "local")).toEqual({
			name: "mlgate",
			port: 5000,
			"postgres.memory": 1024,
			"minio.memory": 1024,
			"mlflow.memory": 2048,
			"mlflow.workers": 2,
			"mlflow.threads": 8,
			"mlflow.scratch": 10,
			"door.memory": 512,
			"door.holdSeconds": 90,
			"door.logLevel": "info",
			"session.idleHours": 12,
			"session.maxDays": 7,
			"api.model": "flavor-ml-embeddings",
			"api.stage": "Staging",
			"api.image": "",
			"api.port": 8000,
			"api.health": "",
			"api.ready": "",
			"api.reload": "auto",
			"api.env": {},
			"api.secretEnv": {},
			"api.memory": 512,
			"api.internet": false,
			funnel: "off",
			"funnel.hostname": "mlgate",
			"funnel.authKey": "",
			"funnel.credentials": "",
			"funnel.tag": "tag:mlflow-gateway",
			"funnel.controlUrl": "",
			"funnel.tailnet": {},
			"funnel.memory": 256,
		});
	});

	it("cannot be changed once they are parsed", () => {
		const settings = parseSettings({}, "local") as Record<string, unknown>;
		expect(() => {
			settings.port = 1;
		}).toThrow(TypeError);
	});

	it("call every other stack by its own name", () => {
		expect(parseSettings({}, "team-b").name).toBe("mlgate-team-b");
		expect(parseSettings({ name: "models" }, "team-b").name).toBe("models");
	});

	it("ask for a name where the stack's own cannot be one on the host", () => {
		expect(problems({}, "Team_B")).toEqual([
			{
				key: "name",
				what: "mlgate:name is `mlgate-Team_B`, which is not a name of 1 to 30 lower-case letters, digits and single hyphens that begins with a letter.",
				fix: "Set a value: npx mlgate config set name <value>",
			},
		]);
		expect(problems({ name: "team-b" }, "Team_B")).toEqual([]);
	});

	it.each([
		["name", ["", "A", "1a", "a_b", "a--b", "a-", "-a", "a b", "a".repeat(31), "a\nb", "../a", "ä"]],
		[
			"port",
			[
				"",
				"0",
				"80",
				"1023",
				"65536",
				"5000.0",
				"0x1388",
				"5e3",
				"05000",
				" 5000",
				"5000 ",
				"-1",
				"http",
				"99999999999",
			],
		],
		["postgres.memory", ["511", "1GB", "1024m", "1048577", ""]],
		["minio.memory", ["511", "NaN"]],
		["mlflow.memory", ["767", "Infinity"]],
		["mlflow.workers", ["0", "33", "two"]],
		["mlflow.threads", ["0", "65", "1,5"]],
		["mlflow.scratch", ["0", "10241"]],
		["door.memory", ["255", "null"]],
		["door.logLevel", ["INFO", "verbose", "", "silent", "__proto__"]],
		["session.idleHours", ["0", "721", "12h"]],
		["session.maxDays", ["0", "91", "true"]],
		["api.model", ["", "a/b", "a:b", "a?", "a#b", "100%", 'a"b', " a", "a\nb"]],
		["api.stage", ["staging", "None", "Archived", ""]],
		["api.image", ["Team/model", "-v", "model latest", "--privileged", "a;b", "a$(b)"]],
		["api.port", ["80", "65536", ""]],
		["api.health", ["/a b", "/a'b", '/a"b', "/a`b`", "/a\\b", " x", "x\ny", "/ä"]],
		["api.ready", ["ready", "http://x/", "/a'b"]],
		["api.reload", ["", "yes", "Follows"]],
		[
			"api.env",
			[
				"",
				"A=1",
				"[]",
				'"A"',
				"null",
				'{"A": 1}',
				'{"1A": "x"}',
				'{"A": "x\\ny"}',
				'{"PORT": "1"}',
				'{"NETRC": ""}',
			],
		],
		["api.memory", ["255", "1GB"]],
		["api.internet", ["yes", "1", "", "True"]],
	] as const)("refuse what %s cannot be, and say what it can", (key, values) => {
		for (const value of values) {
			const [problem] = problems({ [key]: value });
			expect(problem, `${key}=${JSON.stringify(value)}`).toMatchObject({
				key,
				what: `mlgate:${key} is \`${value}\`, which is not ${SETTINGS[key].expects}.`,
			});
			expect(problem?.fix).toContain(`npx mlgate config set ${key} ${SETTINGS[key].default("local")}`);
		}
	});

	it("tell everything that is wrong at once, each with its fix", () => {
		const found = problems({ port: "x", "mlflow.workers": "0", "door.loglevel": "debug", nonsense: "1" });
		expect(found.map(({ key }) => key).sort()).toEqual([
			"door.loglevel",
			"mlflow.workers",
			"nonsense",
			"port",
		]);
		for (const { fix } of found) expect(fix).not.toBe("");
		const message = new SettingsError(found).message;
		for (const { what, fix } of found) expect(message).toContain(`${what} ${fix}`);
	});

	it.each([
		["prot", "port"],
		["Port", "port"],
		["door.loglevel", "door.logLevel"],
		["logLevel", "door.logLevel"],
		["workers", "mlflow.workers"],
		["mlflow.worker", "mlflow.workers"],
		["session.idle-hours", "session.idleHours"],
		["postgress.memory", "postgres.memory"],
	])("name the setting that %s was probably meant to be", (key, meant) => {
		expect(nearest(key)).toBe(meant);
		expect(problems({ [key]: "1" })).toEqual([
			{
				key,
				what: `mlgate:${key} is not a setting (there is ${meant}).`,
				fix: "Rename or remove it in Pulumi.local.yaml.",
			},
		]);
	});

	it("guess nothing where nothing is near, and never show what an unknown key holds", () => {
		expect(nearest("backup.retention")).toBeUndefined();
		const [problem] = problems({ "admin.passphrase": "hunter2" });
		expect(problem?.what).toBe("mlgate:admin.passphrase is not a setting.");
		expect(JSON.stringify(problem)).not.toContain("hunter2");
	});

	it("pass over the stack's own secrets, and over no other key that looks like one", () => {
		expect(problems(Object.fromEntries(SECRET_KEYS.map((key) => [key, "x"])))).toEqual([]);
		expect(problems({ "secret.other": "x" }).map(({ key }) => key)).toEqual(["secret.other"]);
	});

	it.each<[string, string]>([
		["a whole public domain", '{"@gmail.com": "viewer"}'],
		["it, in capitals", '{"@GMail.com": "viewer"}'],
		["everybody of an identity provider", '{"@github": "viewer"}'],
		["a whole domain of admins", '{"@example.org": "admin"}'],
		["a login without a domain", '{"ada": "viewer"}'],
		["a login with two", '{"ada@example.com@example.org": "viewer"}'],
		["everybody", '{"@": "viewer"}'],
		["everybody, otherwise", '{"*@example.org": "viewer", "*": "viewer"}'],
		["a role that there is not", '{"ada@example.org": "owner"}'],
		["no object", '["ada@example.org"]'],
		["no JSON", "ada@example.org=viewer"],
	])("refuse to let %s in from the tailnet", (_what, value) => {
		expect(problems({ "funnel.tailnet": value }).map(({ key }) => key)).toEqual(["funnel.tailnet"]);
	});

	it("name members of the tailnet in one spelling", () => {
		const given = '{"Ada@Example.ORG": "Admin", "eve@gmail.com": "viewer", "@example.org": "editor"}';
		expect(parseSettings({ "funnel.tailnet": given }, "local")["funnel.tailnet"]).toEqual({
			"ada@example.org": "admin",
			"eve@gmail.com": "viewer",
			"@example.org": "editor",
		});
	});

	it("refuse a secret that stands in clear, and do not show it", () => {
		const [problem, ...others] = problems({ "api.secretEnv": '{"KEY": "hunter2"}' });
		expect(others).toEqual([]);
		expect(problem).toEqual({
			key: "api.secretEnv",
			what: "mlgate:api.secretEnv stands in clear in Pulumi.local.yaml.",
			fix: "Remove it there, and give it on standard input: npx mlgate config set api.secretEnv < <file>",
		});
	});

	it("refuse keys of every object", () => {
		for (const key of ["__proto__", "constructor", "toString"])
			expect(problems(JSON.parse(`{"${key}": "x"}`)).map((problem) => problem.key)).toEqual([key]);
	});

	it("refuse memory that the workers and their connections would not fit into", () => {
		expect(problems({ "mlflow.workers": "8", "mlflow.threads": "8" })).toEqual([
			{
				key: "postgres.memory",
				what: "mlgate:postgres.memory is 1024 MiB, too little for 292 connections.",
				fix: "Set it to 1424 or more, or lower mlflow.workers or mlflow.threads.",
			},
			{
				key: "mlflow.memory",
				what: "mlgate:mlflow.memory is 2048 MiB, too little for 8 workers.",
				fix: "Set it to 2304 or more, or lower mlflow.workers.",
			},
		]);
	});

	it("refuse a sign-in that would idle longer than it may last", () => {
		expect(problems({ "session.idleHours": "25", "session.maxDays": "1" })).toMatchObject([
			{ key: "session.idleHours", fix: "Set it to 24 or less, or raise session.maxDays." },
		]);
		expect(problems({ "session.idleHours": "24", "session.maxDays": "1" })).toEqual([]);
	});

	it("take every number in the range that they name, and none beside it", () => {
		for (const key of SETTING_KEYS) {
			const [, min, max] = SETTINGS[key].expects.match(/from (\d+) to (\d+)/)?.map(Number) ?? [];
			if (min === undefined || max === undefined) continue;
			const takes = (value: number) => SETTINGS[key].schema.safeParse(String(value)).success;
			fc.assert(fc.property(fc.integer({ min, max }), takes), { numRuns: 20 });
			expect([takes(min - 1), takes(min), takes(max), takes(max + 1)]).toEqual([false, true, true, false]);
		}
	});
});

describe("connections", () => {
	it.each([
		[2, 8, 100],
		[1, 1, 100],
		[4, 8, 164],
		[8, 16, 548],
	])("%d workers with %d threads may need %d", (workers, threads, connections) => {
		expect(databaseConnections({ "mlflow.workers": workers, "mlflow.threads": threads })).toBe(connections);
	});
});

describe("the table of settings", () => {
	const rows = settingsMarkdown().split("\n");

	it("has a row for every setting and as many cells in each", () => {
		expect(rows).toHaveLength(SETTING_KEYS.length + 2);
		expect(new Set(rows.map((row) => row.split("|").length))).toEqual(new Set([7]));
	});

	it("says in each what it means and what a change does", () => {
		expect(rows).toContain(
			"| `door.logLevel` | `info` | one of fatal, error, warn, info, debug, trace | How much the door writes to its log. | restarts door |",
		);
		for (const [index, key] of SETTING_KEYS.entries()) {
			const setting: Setting = SETTINGS[key];
			expect(rows[index + 2]).toContain(setting.meaning);
			expect(setting.meaning).toMatch(/^[A-Z].*[^.]\.$/);
			if (key !== "name") expect(setting.default("local") || setting.defaultInWords).toBeTruthy();
		}
	});
});
