/** What the images refuse, and what they clean up: on volumes of the test's own, beside the running stack. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { hostName, LABEL, PATH, UID } from "../../infra/contract.ts";
import { imageRef } from "../../infra/images.ts";
import { docker, NAME, run } from "../support/mlgate.ts";

type Store = "postgres" | "minio";

/** Where each store keeps its sockets and marks, in memory. */
const RUNTIME = { postgres: "/run/postgresql", minio: "/run/minio" } as const;
const REFUSED = 64;

/** The volume of the test, and the container that tries to start on it. */
const volume = `${NAME}-images-test`;

/** Starts a store in the foreground, as the stack does: read-only, without capabilities, with the stack's secrets. */
const start = (store: Store, data: string, secrets = hostName.secretsVolume(NAME, store), expected = "") =>
	run("docker", [
		...["run", "--rm", "--name", volume, "--read-only", "--cap-drop", "ALL", "--network", "none"],
		...["--label", `${LABEL.stack}=${NAME}`, "--tmpfs", RUNTIME[store], "--tmpfs", "/tmp"],
		...["--volume", `${data}:${PATH.data[store]}`, "--env", `MLGATE_VOLUME=${expected}`],
		...["--volume", `${secrets}:${PATH.secrets}:ro`],
		imageRef(store),
	]);

/** Makes the volume anew and fills it by `script`, which finds it at /volume; everything belongs to the store then. */
async function fill(store: Store, script: string): Promise<void> {
	await run("docker", ["volume", "rm", volume]);
	await docker("volume", "create", "--label", `${LABEL.stack}=${NAME}`, volume);
	await docker(
		...["run", "--rm", "--user", "0", "--entrypoint", "sh", "--volume", `${volume}:/volume`],
		...[imageRef(store), "-c", `${script}; chown -R ${UID[store]}:${UID[store]} /volume`],
	);
}

beforeAll(async () => {
	await docker("image", "inspect", imageRef("postgres"), imageRef("minio"), imageRef("mlflow"));
});
afterAll(async () => {
	// There is one only where a refusal failed.
	await run("docker", ["rm", "--force", volume]);
	await docker("volume", "rm", volume);
});

describe("a store refuses, and changes nothing", () => {
	test.each([
		["postgres", "a volume that holds something else", "echo mine >/volume/thesis", /is not empty: thesis/],
		[
			"postgres",
			"a cluster of another major version",
			"mkdir /volume/cluster; echo 14 >/volume/cluster/PG_VERSION",
			/written by Postgres 14/,
		],
		[
			"postgres",
			"a cluster folder without a cluster",
			"mkdir /volume/cluster; echo x >/volume/cluster/x",
			/no PG_VERSION/,
		],
		[
			"postgres",
			"a volume whose cluster is gone, rather than begin with an empty one",
			"echo 1234 >/volume/identity",
			/volume 1234 once held a cluster and has none now/,
		],
		["minio", "a volume that holds something else", "echo mine >/volume/thesis", /is not empty: .*thesis/],
		[
			"minio",
			"objects without MinIO's own format",
			"mkdir -p /volume/objects/mlflow; echo x >/volume/objects/mlflow/x",
			/is not empty: .*objects\/mlflow/,
		],
		[
			"minio",
			"a volume whose objects are gone, rather than begin with an empty one",
			"echo 1234 >/volume/identity",
			/volume 1234 once held objects and has none now/,
		],
	] as const)("%s: %s", async (store, _what, script, reason) => {
		await fill(store, script);
		const list = ["find", "/volume", "-type", "f", "!", "-name", "lock", "-exec", "sha256sum", "{}", "+"];
		const look = () =>
			docker("run", "--rm", "--entrypoint", "", "--volume", `${volume}:/volume`, imageRef(store), ...list);
		const before = await look();
		const ended = await start(store, volume);
		expect(ended.stderr).toMatch(reason);
		expect(ended.code).toBe(REFUSED);
		expect(await look()).toBe(before);
	});

	test.each(["postgres", "minio"] as const)("%s: the volume of a running one", async (store) => {
		const ended = await start(store, hostName.dataVolume(NAME, store));
		expect(ended.stderr).toContain("another container is running on this data volume");
		expect(ended.code).toBe(REFUSED);
	});

	const EXPECTED = "6f3c1c5e-0000-4000-8000-000000000000";
	test.each([
		["postgres", "an empty volume where its data should be", "true", /there is no data on this volume/],
		["minio", "an empty volume where its data should be", "true", /there is no data on this volume/],
		[
			"postgres",
			"the volume of another stack",
			"echo other-one >/volume/identity",
			/this is volume other-one/,
		],
		["minio", "the volume of another stack", "echo other-one >/volume/identity", /this is volume other-one/],
		["postgres", "a new volume that was made for another", "echo x >/volume/fresh", /there is no data/],
	] as const)("%s: %s, naming the one that has the data", async (store, _what, script, reason) => {
		await fill(store, script);
		const ended = await start(store, volume, undefined, EXPECTED);
		expect(ended.stderr).toMatch(reason);
		expect(ended.stderr).toContain(`the data of this stack is on volume ${EXPECTED}`);
		expect(ended.code).toBe(REFUSED);
	});

	test.each(["postgres", "minio"] as const)("%s: a volume of secrets with none in it", async (store) => {
		await fill(store, "true");
		const ended = await start(store, volume, volume);
		expect(ended.stderr).toMatch(/secret file/);
		expect(ended.code).toBe(REFUSED);
	});

	test("mlflow: settings that are no numbers, all at once", async () => {
		const ended = await run("docker", [
			...["run", "--rm", "--network", "none", "--env", "MLFLOW_WORKERS=two", "--env", "MLFLOW_THREADS=0"],
			...["--env", "AWS_SHARED_CREDENTIALS_FILE=/nowhere", imageRef("mlflow")],
		]);
		expect(ended.code).toBe(REFUSED);
		for (const bad of ["MLFLOW_BACKEND_STORE_URI", "MLFLOW_WORKERS", "MLFLOW_THREADS", "/nowhere"]) {
			expect(ended.stderr).toContain(bad);
		}
	});
});

/** Runs Python inside the MLflow image, with its own modules at hand; gives what it prints as JSON. */
// biome-ignore lint/suspicious/noExplicitAny: each test names the fields it looks at
async function python(script: string): Promise<any> {
	const ended = await run(
		"docker",
		[
			...["run", "--rm", "--interactive", "--network", "none", "--read-only", "--tmpfs", "/tmp"],
			...["--env", "PYTHONPATH=/usr/local/lib/mlgate", "--entrypoint", "/opt/mlflow/bin/python"],
			...[imageRef("mlflow"), "-"],
		],
		{ input: script },
	);
	expect(ended.code, ended.stderr).toBe(0);
	return JSON.parse(ended.stdout);
}

describe("the schema step of MLflow", () => {
	test("takes an empty database and its own revision, and refuses every other, naming why", async () => {
		const verdicts = await python(`
import json, sqlalchemy, schema
def ask(*statements):
    engine = sqlalchemy.create_engine("sqlite://", poolclass=sqlalchemy.pool.StaticPool)
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(sqlalchemy.text(statement))
    return schema.verdict(engine, "head")
version = "CREATE TABLE alembic_version (version_num TEXT)"
first = [f"CREATE TABLE {name} (a INT)" for name in schema.FIRST_TABLES]
print(json.dumps({
    "empty": ask(),
    "own": ask(version, "INSERT INTO alembic_version VALUES ('head')", "CREATE TABLE runs (a INT)"),
    "killed": ask(version, *first),
    "older": ask(version, "INSERT INTO alembic_version VALUES ('abc123')"),
    "foreign": ask("CREATE TABLE invoices (a INT)"),
    "filled": ask(*first, "INSERT INTO runs VALUES (1)"),
}))`);
		expect(verdicts).toMatchObject({ empty: "fresh", own: "ready", killed: "fresh" });
		expect(verdicts.older).toMatch(/at schema revision abc123, this image needs head/);
		expect(verdicts.foreign).toMatch(/not empty and has no schema revision; it holds invoices/);
		expect(verdicts.filled).toMatch(/no schema revision, but data in runs/);
	});
});

describe("the sweeper of MLflow's scratch folder", () => {
	/** Entries of 1 MiB: name -> minutes since they were touched. `held` is open in another process. */
	const sweep = (limitMiB: number, maxAgeMinutes: number): Promise<{ removed: number; left: string[] }> =>
		python(`
import json, os, subprocess, sys, time, sweeper
root = "/tmp/scratch"
ages = {"ancient": 60, "old": 10, "young": 2, "new": 0, "held": 90, "loose.bin": 70}
for name, minutes in ages.items():
    folder = root if "." in name else f"{root}/{name}/deep"
    os.makedirs(folder, exist_ok=True)
    path = f"{folder}/{name}" if "." in name else f"{folder}/artifact"
    with open(path, "wb") as file:
        file.write(os.urandom(1 << 20))
    when = time.time() - 60 * minutes
    for made in [path, folder, os.path.dirname(folder)]:
        if made.startswith(root + "/"):
            os.utime(made, (when, when))
os.makedirs("/tmp/elsewhere")
open("/tmp/elsewhere/precious", "w").close()
os.symlink("/tmp/elsewhere", f"{root}/link")
os.utime(f"{root}/link", (1, 1), follow_symlinks=False)
holder = subprocess.Popen([sys.executable, "-c", "import sys; f = open(sys.argv[1]); print(1, flush=True); sys.stdin.read()", f"{root}/held/deep/artifact"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
holder.stdout.readline()
removed, _ = sweeper.sweep(root, max_age=${maxAgeMinutes} * 60, limit=${limitMiB} << 20)
holder.kill()
assert os.path.exists("/tmp/elsewhere/precious")
print(json.dumps({"removed": round(removed / (1 << 20)), "left": sorted(os.listdir(root))}))`);

	test("removes what is old and not open, and follows no link out", async () => {
		expect(await sweep(1000, 15)).toEqual({ removed: 2, left: ["held", "new", "old", "young"] });
	});

	test("removes the oldest first when over the limit, and never what is open or was just made", async () => {
		expect((await sweep(4, 24 * 60)).left).toEqual(["held", "new", "old", "young"]);
		expect((await sweep(3, 24 * 60)).left).toEqual(["held", "new", "young"]);
		expect((await sweep(1, 24 * 60)).left).toEqual(["held", "new"]);
	});

	test("leaves everything alone within age and limit, but for what nobody has touched for ages", async () => {
		expect((await sweep(1000, 24 * 60)).left).toEqual([
			"ancient",
			"held",
			"loose.bin",
			"new",
			"old",
			"young",
		]);
	});
});
