import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { CHECKOUT, docker, mustRun, NAME, run, STACK, token } from "../support/mlgate.ts";

/** Every password that the stack's parts were given, read from the files they were given them in. */
let secrets: string[];

beforeAll(async () => {
	const files = {
		postgres: ["mlflow-password", "door-password"],
		minio: ["mlflow-secret-key", "door-secret-key"],
	};
	secrets = [];
	for (const [part, names] of Object.entries(files)) {
		for (const name of names)
			secrets.push(await docker("exec", `${NAME}-${part}`, "cat", `/run/secrets/${name}`));
	}
});

/** Every file below a folder, as text. */
function texts(folder: string): { path: string; text: string }[] {
	return readdirSync(folder, { recursive: true, withFileTypes: true })
		.filter((entry) => entry.isFile())
		.map((entry) => join(entry.parentPath, entry.name))
		.map((path) => ({ path, text: readFileSync(path, "latin1") }));
}

describe("secrets", () => {
	test("are four different long values", () => {
		expect(new Set(secrets).size).toBe(4);
		for (const secret of secrets) expect(secret.length).toBeGreaterThanOrEqual(24);
	});

	test("are not in docker inspect, the process list, the containers' logs, the state or the command logs", async () => {
		const names = ["postgres", "minio", "mlflow", "door", "keeper"].map((part) => `${NAME}-${part}`);
		const places: { path: string; text: string }[] = [
			{ path: "docker inspect", text: await docker("inspect", ...names) },
			{ path: "process list", text: (await run("ps", ["axeww"])).stdout },
			...(await Promise.all(
				names.map(async (name) => {
					const logs = await run("docker", ["logs", name]);
					return { path: `logs of ${name}`, text: logs.stdout + logs.stderr };
				}),
			)),
			...texts(join(CHECKOUT, ".mlgate", "state")),
			...texts(join(CHECKOUT, ".mlgate", "logs")),
			{ path: "stack config", text: readFileSync(join(CHECKOUT, `Pulumi.${STACK}.yaml`), "utf8") },
		];
		for (const secret of secrets) {
			expect(places.filter(({ text }) => text.includes(secret)).map(({ path }) => path)).toEqual([]);
		}
	});

	test("a token is printed by the command that makes it and kept nowhere", async () => {
		const made = await token("viewer", "seen-once");
		expect(made.split(".")).toHaveLength(3);
		const places = [
			...texts(join(CHECKOUT, ".mlgate")),
			{ path: "tokens list", text: (await mustRun(["tokens", "list", "--json"])).stdout },
		];
		expect(places.filter(({ text }) => text.includes(made)).map(({ path }) => path)).toEqual([]);
	});

	test("the passphrase can be read by its owner alone", () => {
		expect(statSync(join(CHECKOUT, ".mlgate", "passphrase")).mode & 0o777).toBe(0o600);
	});

	test("a second process works with the secrets that the first one made", async () => {
		const read = () => docker("exec", `${NAME}-postgres`, "cat", "/run/secrets/mlflow-password");
		const before = await read();
		await mustRun(["up", "--yes"]);
		expect(await read()).toBe(before);
	});
});
