/**
 * The two stores of a stack and nothing else, as the program makes them: real Postgres, real MinIO, the volumes and the
 * network with their names and labels. For what works with the stores alone; there is no MLflow and no door.
 */
import { randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { ALIAS, hostName, LABEL, PATH, SECRET_FILE, UID } from "../../infra/contract.ts";
import { imageRef } from "../../infra/images.ts";
import { ensureImages } from "../../ops/lib/build-images.ts";
import { silent } from "../../ops/lib/report.ts";
import { docker, run } from "./mlgate.ts";

const READY_MS = 120_000;

export interface TestStores {
	/** As everything is called on the host. */
	name: string;
	/** Runs SQL as the superuser. */
	sql(database: "mlflow" | "door" | "postgres", text: string): Promise<string>;
	/** Puts an object, as the door would. */
	put(key: string, content: string | Buffer): Promise<void>;
	/** Keys and contents. */
	objects(): Promise<Record<string, string>>;
	/** The file on the door's volume that opens the signing keys. */
	key: { write(content: string): Promise<void>; read(): Promise<string> };
	close(): Promise<void>;
}

export async function startStores(): Promise<TestStores> {
	await ensureImages(silent, ["postgres", "minio", "door"]);
	const name = `mlgate-test-${randomBytes(4).toString("hex")}`;
	const label = (part?: string) => [
		...["--label", `${LABEL.stack}=${name}`],
		...(part ? ["--label", `${LABEL.part}=${part}`] : []),
	];
	const network = hostName.network(name, "data");
	const secret = randomBytes(18).toString("hex");
	const key = hostName.dataVolume(name, "door");
	const volumes = [
		...(["postgres", "minio", "door"] as const).flatMap((part) => [
			hostName.dataVolume(name, part),
			hostName.secretsVolume(name, part),
		]),
	];

	/** A file on a volume, as its owner. */
	const place = async (volume: string, file: string, uid: number, content: string) => {
		const script = `mkdir -p /v && chown ${uid}:${uid} /v && chmod 700 /v && cat >/v/${file} && chown ${uid}:${uid} /v/${file} && chmod 400 /v/${file}`;
		const ended = await run(
			"docker",
			[
				...["run", "--rm", "-i", "--user", "0", "--network", "none", "--volume", `${volume}:/v`],
				...["--entrypoint", "sh", imageRef("postgres"), "-c", script],
			],
			{ input: content },
		);
		if (ended.code !== 0) throw new Error(ended.stderr);
	};
	const close = async () => {
		const ids = (await docker("ps", "-aq", "--filter", `label=${LABEL.stack}=${name}`))
			.split("\n")
			.filter(Boolean);
		if (ids.length > 0) await docker("rm", "--force", ...ids);
		await docker("volume", "rm", "--force", ...volumes);
		await run("docker", ["network", "rm", network]);
	};

	const common = (part: "postgres" | "minio") => [
		...["run", "--detach", "--name", hostName.container(name, part), ...label(part)],
		...["--network", network, "--network-alias", ALIAS[part], "--read-only", "--cap-drop", "ALL"],
		...["--volume", `${hostName.dataVolume(name, part)}:${PATH.data[part]}`],
		...["--volume", `${hostName.secretsVolume(name, part)}:${PATH.secrets}:ro`],
		...["--tmpfs", "/tmp:size=64m,mode=1777", "--shm-size", "128m"],
		...["--health-cmd", "/usr/local/bin/health", "--health-interval", "1s", "--health-start-period", "60s"],
	];
	try {
		await docker("network", "create", "--internal", ...label(), network);
		for (const volume of volumes) await docker("volume", "create", ...label(), volume);
		for (const part of ["postgres", "minio"] as const) {
			for (const file of Object.values(SECRET_FILE[part]))
				await place(hostName.secretsVolume(name, part), file, UID[part], secret);
		}
		await place(hostName.secretsVolume(name, "door"), SECRET_FILE.door.store, UID.door, secret);
		await place(key, "wrapping-key", UID.door, "the first key");
		await docker(
			...common("postgres"),
			...["--tmpfs", "/run/postgresql:size=16m,mode=1777", "--env", "POSTGRES_MEMORY_MB=256"],
			imageRef("postgres"),
		);
		await docker(...common("minio"), "--tmpfs", "/run/minio:size=1m,mode=1777", imageRef("minio"));
		for (const part of ["postgres", "minio"] as const) await healthy(hostName.container(name, part));
	} catch (error) {
		await close();
		throw error;
	}

	/** The helper of a backup, which has the store's client. */
	const agent = async (script: string, args: readonly string[], input = "") => {
		const ended = await run(
			"docker",
			[
				...["run", "--rm", "-i", "--network", network, "--volume"],
				...[`${hostName.secretsVolume(name, "door")}:${PATH.secrets}:ro`, "--entrypoint", "node"],
				...[imageRef("door"), "--input-type=module", "-e", `${STORE}\n${script}`, ...args],
			],
			{ input },
		);
		if (ended.code !== 0) throw new Error(ended.stderr);
		return ended.stdout;
	};

	return {
		name,
		async sql(database, text) {
			const ended = await run(
				"docker",
				[
					...["exec", "-i", hostName.container(name, "postgres"), "psql", "-qAtX", "-v", "ON_ERROR_STOP=1"],
					...["-h", "/run/postgresql", "-U", "postgres", "-d", database],
				],
				{ input: text },
			);
			if (ended.code !== 0) throw new Error(ended.stderr);
			return ended.stdout.trim();
		},
		async put(key, content) {
			await agent(PUT, [key], Buffer.from(content).toString("base64"));
		},
		objects: async () => JSON.parse(await agent(ALL, [])),
		key: {
			write: (content) => place(key, "wrapping-key", UID.door, content),
			read: () =>
				docker(
					...["run", "--rm", "--network", "none", "--user", String(UID.door), "--volume", `${key}:/v:ro`],
					...["--entrypoint", "cat", imageRef("postgres"), "/v/wrapping-key"],
				),
		},
		close,
	};
}

const STORE = `
import { readFileSync } from "node:fs";
import { text, buffer } from "node:stream/consumers";
import { Store } from "/app/proxy/artifacts/store.ts";
const store = new Store({ url: "http://minio:9000", bucket: "mlflow", user: "door",
	secret: readFileSync("/run/secrets/store-secret-key", "utf8").trim() });
const signal = AbortSignal.timeout(30000);
`;
const PUT = `
const body = Buffer.from(await text(process.stdin), "base64");
await store.put(process.argv[1], {}, body, body.length, undefined, signal);
process.exit(0);
`;
const ALL = `
const found = {};
for (let token, first = true; first || token; first = false) {
	const page = await store.page("", false, token, signal);
	for (const { key } of page.files) found[key] = (await buffer((await store.get(key, signal)).body)).toString("latin1");
	token = page.next;
}
process.stdout.write(JSON.stringify(found), () => process.exit(0));
`;

async function healthy(container: string): Promise<void> {
	for (const end = performance.now() + READY_MS; ; await sleep(300)) {
		if ((await docker("inspect", "--format", "{{.State.Health.Status}}", container)) === "healthy") return;
		if (performance.now() > end)
			throw new Error(`${container} is not healthy: ${await docker("logs", "--tail", "20", container)}`);
	}
}
