/**
 * A real MinIO for tests: our own image, as the stack runs it, in a container of its own with throw-away data on a
 * port of its own. There is no way round it: without Docker the tests that need one fail.
 */
import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import aws4 from "aws4";
import { PATH, PORT, SECRET_FILE, STORE } from "../../infra/contract.ts";
import { imageRef } from "../../infra/images.ts";
import { ensureImages } from "../../ops/lib/build-images.ts";
import { silent } from "../../ops/lib/report.ts";

const run = promisify(execFile);
const docker = async (...args: string[]) => (await run("docker", args)).stdout;

/** How long MinIO may take to be ready, in milliseconds: on a busy machine it is not quick. */
const READY = 120_000;

export interface TestMinio {
	url: string;
	port: number;
	bucket: string;
	/** The door's own user, with the rights that it has in a stack. */
	user: string;
	secret: string;
	secretFile: string;
	/** A signed request of the test's own, past everything under test. */
	s3(method: string, key: string, query?: Record<string, string>, body?: string | Buffer): Promise<Response>;
	/** Puts an object. */
	put(key: string, body: string | Buffer): Promise<void>;
	/** The whole object, or undefined. */
	get(key: string): Promise<Buffer | undefined>;
	/** Files of multipart uploads on MinIO's disk, whatever its lists say. */
	partsOnDisk(): Promise<string[]>;
	/** As a crash: connections break in the middle. */
	kill(): Promise<void>;
	/** Returns when it is ready. */
	start(): Promise<void>;
	/** Stops answering, without closing anything. */
	pause(): Promise<void>;
	unpause(): Promise<void>;
	close(): Promise<void>;
}

export async function startMinio(): Promise<TestMinio> {
	await ensureImages(silent, ["minio"]);
	const secrets = await mkdtemp(join(tmpdir(), "mlgate-test-minio-"));
	const secret = randomBytes(18).toString("hex");
	const secretFile = join(secrets, SECRET_FILE.minio.door);
	for (const file of Object.values(SECRET_FILE.minio)) await writeFile(join(secrets, file), secret);
	// Another user reads them inside the container.
	await chmod(secrets, 0o755);
	const name = `mlgate-test-minio-${randomBytes(4).toString("hex")}`;
	const port = await freePort();
	await docker(
		...["run", "--detach", "--name", name, "--read-only", "--cap-drop", "ALL"],
		...["--security-opt", "no-new-privileges", "--memory", "1g"],
		...["--tmpfs", "/run/minio:size=1m,mode=1777", "--tmpfs", "/tmp:size=64m"],
		...["--volume", PATH.data.minio, "--volume", `${secrets}:${PATH.secrets}:ro`],
		...["--publish", `127.0.0.1:${port}:${PORT.minio}`, imageRef("minio")],
	);

	const ready = async () => {
		const end = performance.now() + READY;
		for (;;) {
			try {
				await docker("exec", name, "/usr/local/bin/health");
				return;
			} catch (cause) {
				if (performance.now() > end) {
					const logs = await run("docker", ["logs", "--tail", "20", name]);
					throw new Error(`MinIO is not ready: ${logs.stdout}${logs.stderr}`, { cause });
				}
			}
			await sleep(200);
		}
	};

	const bucket = STORE.bucket;
	const user = STORE.users.door;
	const encode = (part: string) =>
		encodeURIComponent(part).replace(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`);
	const s3: TestMinio["s3"] = async (method, key, query = {}, body) => {
		const pairs = Object.entries(query).map(([field, value]) => `${encode(field)}=${encode(value)}`);
		const path = `/${bucket}/${key.split("/").map(encode).join("/")}`;
		const request = {
			service: "s3",
			region: "us-east-1",
			method,
			host: `127.0.0.1:${port}`,
			path: pairs.length > 0 ? `${path}?${pairs.join("&")}` : path,
			headers: { "X-Amz-Content-Sha256": "UNSIGNED-PAYLOAD" },
		};
		const { headers } = aws4.sign(request, { accessKeyId: user, secretAccessKey: secret });
		const { Host: _, ...rest } = headers as Record<string, string>;
		return await fetch(`http://127.0.0.1:${port}${request.path}`, {
			method,
			headers: rest,
			...(body === undefined ? {} : { body: Buffer.from(body) }),
		});
	};

	const close = async () => {
		await docker("rm", "--force", "--volumes", name);
		await rm(secrets, { recursive: true, force: true });
	};
	try {
		await ready();
	} catch (error) {
		await close();
		throw error;
	}

	return {
		url: `http://127.0.0.1:${port}`,
		port,
		bucket,
		user,
		secret,
		secretFile,
		s3,
		async put(key, body) {
			const answer = await s3("PUT", key, {}, body);
			if (!answer.ok) throw new Error(`PUT ${key}: ${answer.status} ${await answer.text()}`);
		},
		async get(key) {
			const answer = await s3("GET", key);
			if (answer.status === 404) return undefined;
			if (!answer.ok) throw new Error(`GET ${key}: ${answer.status} ${await answer.text()}`);
			return Buffer.from(await answer.arrayBuffer());
		},
		async partsOnDisk() {
			const folder = `${PATH.data.minio}/objects/.minio.sys/multipart`;
			const found = await docker("exec", name, "find", folder, "-type", "f");
			return found.split("\n").filter((line) => line !== "");
		},
		async kill() {
			await docker("kill", "--signal", "KILL", name);
		},
		async start() {
			await docker("start", name);
			await ready();
		},
		async pause() {
			await docker("pause", name);
		},
		async unpause() {
			await docker("unpause", name);
		},
		close,
	};
}

function freePort(): Promise<number> {
	return new Promise((resolve, reject) => {
		const server = createServer().on("error", reject);
		server.listen(0, "127.0.0.1", () => {
			const address = server.address();
			server.close(() => resolve(typeof address === "object" && address !== null ? address.port : 0));
		});
	});
}
