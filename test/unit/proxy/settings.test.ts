import { describe, expect, test } from "vitest";
import { readSettings, SettingsError } from "../../../proxy/settings.ts";

const GOOD = {
	PATH: "/usr/bin",
	DOOR_NAME: "mlgate",
	DOOR_LISTENERS: JSON.stringify([
		{ name: "edge", bind: "door-edge", port: 5000, hosts: ["localhost:5000", "127.0.0.1:5000"] },
		{ name: "clients", bind: "door-clients", port: 5000, hosts: ["mlflow:5000"] },
	]),
	DOOR_MLFLOW_URL: "http://tracking:5000",
	DOOR_DATABASE_URL: "postgres://door@postgres:5432/door",
	DOOR_DATABASE_PASSWORD_FILE: "/run/secrets/database-password",
	DOOR_STORE_URL: "http://minio:9000",
	DOOR_STORE_BUCKET: "mlflow",
	DOOR_STORE_USER: "door",
	DOOR_STORE_SECRET_FILE: "/run/secrets/store-secret-key",
	DOOR_KEY_FILE: "/var/lib/door/wrapping-key",
	DOOR_CONTROL_SOCKET: "/run/mlgate/control.sock",
	DOOR_METRICS_BIND: "door-data:9464",
	DOOR_UI_FOLDER: "/app/ui",
};

const problems = (env: Record<string, string | undefined>): string => {
	try {
		readSettings(env);
	} catch (error) {
		if (error instanceof SettingsError) return error.message;
		throw error;
	}
	throw new Error("these settings were accepted");
};

describe("the door's settings", () => {
	test("one frozen object, with defaults", () => {
		const settings = readSettings(GOOD);
		expect(settings).toEqual({
			name: "mlgate",
			listeners: [
				{ name: "edge", bind: "door-edge", port: 5000, hosts: ["localhost:5000", "127.0.0.1:5000"] },
				{ name: "clients", bind: "door-clients", port: 5000, hosts: ["mlflow:5000"] },
			],
			mlflow: { url: "http://tracking:5000" },
			database: {
				url: "postgres://door@postgres:5432/door",
				passwordFile: "/run/secrets/database-password",
			},
			store: {
				url: "http://minio:9000",
				bucket: "mlflow",
				user: "door",
				secretFile: "/run/secrets/store-secret-key",
			},
			api: undefined,
			serviceFolder: undefined,
			keyFile: "/var/lib/door/wrapping-key",
			controlSocket: "/run/mlgate/control.sock",
			metrics: { host: "door-data", port: 9464 },
			uiFolder: "/app/ui",
			tailnet: undefined,
			session: { idleHours: 12, maxDays: 7 },
			logLevel: "info",
			drainSeconds: 25,
			holdSeconds: 90,
		});
		expect(Object.isFrozen(settings)).toBe(true);
		expect(Object.isFrozen(settings.listeners[0]?.hosts)).toBe(true);
		expect(Object.isFrozen(settings.session)).toBe(true);
	});

	test("numbers and levels are read; metrics may stay away", () => {
		const { DOOR_METRICS_BIND: _, ...rest } = GOOD;
		const settings = readSettings({
			...rest,
			DOOR_SESSION_IDLE_HOURS: "1",
			DOOR_SESSION_MAX_DAYS: "30",
			DOOR_LOG_LEVEL: "debug",
			DOOR_DRAIN_SECONDS: "0",
		});
		expect(settings.session).toEqual({ idleHours: 1, maxDays: 30 });
		expect(settings.logLevel).toBe("debug");
		expect(settings.drainSeconds).toBe(0);
		expect(settings.metrics).toBeUndefined();
	});

	test("the inference API and its token's folder may be named", () => {
		const settings = readSettings({
			...GOOD,
			DOOR_API_URL: "http://api:8000/",
			DOOR_SERVICE_FOLDER: "/run/mlgate-service",
		});
		expect(settings.api).toEqual({ url: "http://api:8000" });
		expect(settings.serviceFolder).toBe("/run/mlgate-service");
		const said = problems({ ...GOOD, DOOR_API_URL: "http://api:8000/v1", DOOR_SERVICE_FOLDER: "here" });
		expect(said).toContain("DOOR_API_URL: must be http://host[:port] and nothing else");
		expect(said).toContain("DOOR_SERVICE_FOLDER: must be an absolute path");
	});

	test("every bad value is named in one message", () => {
		const said = problems({
			...GOOD,
			DOOR_NAME: undefined,
			DOOR_MLFLOW_URL: "tracking:5000",
			DOOR_DATABASE_URL: "mysql://x/y",
			DOOR_KEY_FILE: "relative",
			DOOR_SESSION_IDLE_HOURS: "soon",
			DOOR_LOG_LEVEL: "loud",
			DOOR_METRICS_BIND: "9464",
			DOOR_LISTNERS: "[]",
		});
		for (const name of [
			"NAME",
			"MLFLOW_URL",
			"DATABASE_URL",
			"KEY_FILE",
			"SESSION_IDLE_HOURS",
			"LOG_LEVEL",
		]) {
			expect(said).toContain(`\n  DOOR_${name}: `);
		}
		expect(said).toContain("DOOR_NAME: is missing");
		expect(said).toContain("DOOR_METRICS_BIND: must be host:port");
		expect(said).toContain("DOOR_LISTNERS: is not a setting of the door");
		expect(said.split("\n")).toHaveLength(9);
	});

	test.each([
		["not json", "is not JSON"],
		["[]", "at least one listener"],
		["{}", "DOOR_LISTENERS"],
		['[{"name":"data","bind":"x","port":1,"hosts":["a"]}]', "DOOR_LISTENERS[0].name"],
		['[{"name":"edge","bind":"0 0","port":1,"hosts":["a"]}]', "DOOR_LISTENERS[0].bind"],
		['[{"name":"edge","bind":"x","port":0,"hosts":["a"]}]', "DOOR_LISTENERS[0].port"],
		['[{"name":"edge","bind":"x","port":1,"hosts":[]}]', "DOOR_LISTENERS[0].hosts"],
		['[{"name":"edge","bind":"x","port":1,"hosts":["A.example"]}]', "DOOR_LISTENERS[0].hosts[0]"],
		['[{"name":"edge","bind":"x","port":1,"hosts":["http://a"]}]', "DOOR_LISTENERS[0].hosts[0]"],
		['[{"name":"edge","bind":"x","port":1,"hosts":["a"],"trust":true}]', "DOOR_LISTENERS[0]"],
		[
			'[{"name":"edge","bind":"x","port":1,"hosts":["a"]},{"name":"edge","bind":"y","port":1,"hosts":["a"]}]',
			"names a listener twice",
		],
	])("listeners %s: %s", (text, said) => expect(problems({ ...GOOD, DOOR_LISTENERS: text })).toContain(said));

	test.each([
		"http://tracking:5000/path",
		"http://user:secret@tracking:5000",
		"http://tracking?x=1",
		"ftp://x",
	])("MLflow's URL is an origin: %s is refused", (url) =>
		expect(problems({ ...GOOD, DOOR_MLFLOW_URL: url })).toContain("DOOR_MLFLOW_URL"),
	);
});
