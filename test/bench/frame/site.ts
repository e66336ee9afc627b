/** What is measured stands here: the kit's parts, stock MLflow on the same stores, and doors before them. */
import { randomBytes } from "node:crypto";
import { chown, mkdir, readdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Image } from "../../../infra/contract.ts";
import { CPU_SHARES, DATABASE, PATH, PORT, SECRET_FILE, STORE, UID } from "../../../infra/contract.ts";
import { imageRef } from "../../../infra/images.ts";
import { docker } from "../../support/mlgate.ts";
import { Children } from "./children.ts";
import { type Door, type DoorOptions, openDoor } from "./door.ts";
import { belongsHere } from "./ground.ts";
import { family, type Watched } from "./usage.ts";

/** Ports in the bench's network. The first ones are those of the images. */
export const AT = {
	postgres: PORT.postgres,
	minio: PORT.minio,
	mlflow: PORT.mlflow,
	stock: 5001,
	door: 5002,
	stub: 5003,
	nginx: 5004,
	verifier: 5005,
	httpProxy: 5006,
	slowStub: 5009,
	/** The near ends of the modelled slow line. */
	slowStock: 5007,
	slowDoor: 5008,
} as const;

export const origin = (port: number): string => `http://127.0.0.1:${port}`;

/** A database and a bucket that no request of the bench goes to by another way than the one that is measured. */
export interface Site {
	/** Temporary. */
	folder: string;
	minio: Watched & { bucket: string; user: string; secret: string };
	/** MLflow as the kit runs it. */
	mlflow: Watched;
	/** MLflow as `mlflow server` runs it, on the same database and bucket. */
	stock: Watched & { tidy(): Promise<void> };
	children: Children;
	/** For `pg`. */
	database: { host: string; port: number; user: string; password: string; database: string };
	/** Starts a door. One runs at a time: they share their accounts. */
	door(options?: Partial<DoorOptions>): Promise<Door>;
	close(): Promise<void>;
}

/** Milliseconds: on a busy machine nothing is quick. */
const READY = 600_000;

export async function until(what: string, holds: () => Promise<boolean>, ms = READY): Promise<void> {
	const end = performance.now() + ms;
	while (!(await holds().catch(() => false))) {
		if (performance.now() > end) throw new Error(`${what} is not ready after ${ms / 1000} s`);
		await sleep(100);
	}
}

export const answers = async (url: string): Promise<boolean> =>
	(await fetch(url, { signal: AbortSignal.timeout(5_000) })).ok;

interface Part {
	name: string;
	image: Image;
	memory: number;
	cpuShares?: number;
	env?: Record<string, string>;
	secrets: Record<string, string>;
	/** Folder in the container, kept where it can be looked at. */
	data: string;
	/** Where in it the temporary files are; all of it is temporary if left out. */
	scratch?: string;
	tmpfs?: readonly string[];
	/** Instead of the image's own. */
	command?: readonly [program: string, ...args: string[]];
}

/** As `infra/service.ts` runs them: read-only, without rights, with the limits of a stack. */
async function start(folder: string, part: Part): Promise<Watched> {
	const { name, image, memory, cpuShares, env = {}, secrets, data, scratch = "", tmpfs = [], command } = part;
	const uid = UID[image as keyof typeof UID];
	const own = async (kind: string, mode: number) => {
		const path = join(folder, `${name}-${kind}`);
		await mkdir(path, { mode });
		await chown(path, uid, uid);
		return path;
	};
	const [secretFolder, dataFolder] = [await own("secrets", 0o700), await own("data", 0o700)];
	for (const [file, content] of Object.entries(secrets)) {
		await writeFile(join(secretFolder, file), content, { mode: 0o400 });
		await chown(join(secretFolder, file), uid, uid);
	}
	const container = `mlgate-bench-${process.env.BENCH_OWNER}-${name}`;
	await docker(
		...["run", "--detach", "--name", container, ...belongsHere(), "--read-only", "--cap-drop", "ALL"],
		...["--security-opt", "no-new-privileges", "--memory", `${memory}m`, "--shm-size", "256m"],
		...(cpuShares === undefined ? [] : ["--cpu-shares", String(cpuShares)]),
		...["/tmp", ...tmpfs].flatMap((path) => ["--tmpfs", `${path}:size=64m,mode=1777`]),
		...["--volume", `${dataFolder}:${data}`, "--volume", `${secretFolder}:${PATH.secrets}:ro`],
		...Object.entries(env).flatMap(([key, value]) => ["--env", `${key}=${value}`]),
		...(command === undefined ? [] : ["--entrypoint", command[0]]),
		imageRef(image),
		...(command?.slice(1) ?? []),
	);
	const pid = Number(await docker("inspect", "--format", "{{.State.Pid}}", container));
	return { name, pids: () => family(pid), scratch: join(dataFolder, scratch) };
}

export async function openSite(): Promise<Site> {
	const folder = process.env.BENCH_FOLDER;
	if (folder === undefined) throw new Error("This runs inside the bench's own network: npm run bench");
	const password = randomBytes(18).toString("hex");
	const host = "127.0.0.1";
	const children = new Children();

	const postgres = await start(folder, {
		name: "postgres",
		image: "postgres",
		memory: 1024,
		secrets: Object.fromEntries(Object.values(SECRET_FILE.postgres).map((file) => [file, password])),
		data: PATH.data.postgres,
		tmpfs: ["/run/postgresql"],
	});
	const minio = await start(folder, {
		name: "minio",
		image: "minio",
		memory: 1024,
		cpuShares: CPU_SHARES.minio,
		secrets: Object.fromEntries(Object.values(SECRET_FILE.minio).map((file) => [file, password])),
		data: PATH.data.minio,
		// The rest is objects, and notes of how many there are.
		scratch: ".minio.sys/tmp",
		tmpfs: ["/run/minio"],
	});
	await until("Postgres", async () => {
		await docker("exec", `mlgate-bench-${process.env.BENCH_OWNER}-${postgres.name}`, "/usr/local/bin/health");
		return true;
	});
	await until("MinIO", async () => {
		await docker("exec", `mlgate-bench-${process.env.BENCH_OWNER}-${minio.name}`, "/usr/local/bin/health");
		return true;
	});

	const backend = `postgresql://${DATABASE.mlflow}@${host}:${AT.postgres}/${DATABASE.mlflow}?passfile=${PATH.secrets}/${SECRET_FILE.mlflow.database}`;
	const tracking = {
		image: "mlflow",
		memory: 2048,
		env: {
			MLFLOW_BACKEND_STORE_URI: backend,
			AWS_SHARED_CREDENTIALS_FILE: `${PATH.secrets}/${SECRET_FILE.mlflow.store}`,
			MLFLOW_S3_ENDPOINT_URL: origin(AT.minio),
		},
		secrets: {
			[SECRET_FILE.mlflow.database]:
				`${host}:${AT.postgres}:${DATABASE.mlflow}:${DATABASE.mlflow}:${password}\n`,
			[SECRET_FILE.mlflow.store]:
				`[default]\naws_access_key_id = ${STORE.users.mlflow}\naws_secret_access_key = ${password}\n`,
		},
		data: PATH.scratch,
	} as const;
	const mlflow = await start(folder, { ...tracking, name: "mlflow" });
	await until("MLflow", () => answers(`${origin(AT.mlflow)}/health`));
	const stock = await start(folder, {
		...tracking,
		name: "stock",
		command: [
			"mlflow",
			...["server", "--host", "0.0.0.0", "--port", String(AT.stock)],
			...["--backend-store-uri", backend, "--artifacts-destination", `s3://${STORE.bucket}`],
			// The one thing that is not stock: the defaults end big downloads in the middle and refuse charts of 98 runs.
			...["--gunicorn-opts", "--timeout 600 --limit-request-line 8190"],
		],
	});
	await until("stock MLflow", () => answers(`${origin(AT.stock)}/health`));

	const uiFolder = join(folder, "ui");
	const image = await docker(
		"create",
		"--label",
		`mlgate.bench=${process.env.BENCH_OWNER}`,
		process.env.BENCH_UI ?? "",
	);
	await docker("cp", `${image}:/app/ui`, uiFolder);
	await docker("rm", image);
	const doorFolder = join(folder, "door");
	await mkdir(join(doorFolder, "tmp"), { recursive: true });
	const secretFile = join(doorFolder, "secret");
	await writeFile(secretFile, password, { mode: 0o600 });

	return {
		folder,
		minio: { ...minio, bucket: STORE.bucket, user: STORE.users.door, secret: password },
		mlflow,
		stock: {
			...stock,
			// What its page's route leaves behind, which would fill the disk.
			async tidy() {
				if (stock.scratch === undefined) return;
				for (const entry of await readdir(stock.scratch)) {
					await rm(join(stock.scratch, entry), { recursive: true, force: true });
				}
			},
		},
		children,
		database: { host, port: AT.postgres, user: DATABASE.mlflow, password, database: DATABASE.mlflow },
		door: (options = {}) =>
			openDoor({
				children,
				folder: doorFolder,
				secretFile,
				uiFolder,
				upstream: origin(AT.mlflow),
				...options,
			}),
		close: () => children.end(),
	};
}
