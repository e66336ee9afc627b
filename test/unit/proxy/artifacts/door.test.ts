/** Artifacts behind the whole door: who may do what with them, and what ends with a credential. */
import { mkdtempSync, rmSync } from "node:fs";
import { request as httpRequest, type IncomingMessage } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { PART_PATH } from "../../../../proxy/artifacts/index.ts";
import type { Role } from "../../../../proxy/roles.ts";
import { startMinio, type TestMinio } from "../../../support/minio.ts";
import { HOST, type Rig, rig } from "../support.ts";
import { eventually, pattern, runAt } from "./support.ts";

let minio: TestMinio;
let folder: string;
let it: Rig;
/** MLflow's answers, by path and query. */
const mlflow = new Map<string, unknown>();

beforeAll(async () => {
	minio = await startMinio();
	folder = mkdtempSync(join(tmpdir(), "mlgate-test-door-artifacts-"));
	it = await rig({
		artifacts: {
			store: { url: minio.url, bucket: minio.bucket, user: minio.user, secretFile: minio.secretFile },
			journal: join(folder, "uploads"),
		},
		transfers: { sweep: 50 },
	});
	it.upstream.answer = (req, res) => {
		const body = mlflow.get(req.url ?? "");
		res.statusCode = body === undefined ? 404 : 200;
		res.setHeader("content-type", "application/json");
		res.end(body === undefined ? '{"error_code":"RESOURCE_DOES_NOT_EXIST"}' : JSON.stringify(body));
	};
});
afterAll(async () => {
	await it?.close();
	await minio?.close();
	if (folder !== undefined) rmSync(folder, { recursive: true, force: true });
});
beforeEach(() => {
	it.upstream.seen.length = 0;
	mlflow.clear();
});
afterEach(() => it.authority.revoked.clear());

interface Said {
	status: number;
	headers: IncomingMessage["headers"];
	body: Buffer;
}

interface Asked {
	role?: Role | null;
	body?: Buffer | string;
	headers?: Record<string, string>;
}

function ask(
	method: string,
	path: string,
	{ role = "editor", body, headers = {} }: Asked = {},
): Promise<Said> {
	return new Promise((resolve, reject) => {
		const sent = httpRequest(
			{
				port: it.port,
				host: "127.0.0.1",
				method,
				path,
				agent: false,
				headers: {
					host: HOST,
					...(role === null ? {} : { authorization: `Bearer ${role}` }),
					...(body === undefined ? {} : { "content-length": Buffer.byteLength(body) }),
					...headers,
				},
			},
			(res) => {
				const chunks: Buffer[] = [];
				res.on("data", (chunk) => chunks.push(chunk));
				res.on("error", reject);
				res.on("end", () =>
					resolve({ status: res.statusCode ?? 0, headers: res.headers, body: Buffer.concat(chunks) }),
				);
			},
		);
		sent.on("error", reject);
		sent.end(body);
	});
}

const ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts";
const MPU = "/api/2.0/mlflow-artifacts/mpu";
const codeOf = ({ headers }: Said) => headers["x-door-error"];

describe("roles", () => {
	test("a viewer reads and lists, by both names of the API, and stores nothing", async () => {
		await minio.put("roles/a.txt", "hello");
		for (const twin of ["/api/2.0", "/ajax-api/2.0"]) {
			const base = `${twin}/mlflow-artifacts/artifacts`;
			const got = await ask("GET", `${base}/roles/a.txt`, { role: "viewer" });
			expect([got.status, got.body.toString()]).toEqual([200, "hello"]);
			const head = await ask("HEAD", `${base}/roles/a.txt`, { role: "viewer" });
			expect([head.status, head.headers["content-length"]]).toEqual([200, "5"]);
			const listed = await ask("GET", `${base}?path=roles`, { role: "viewer" });
			expect(JSON.parse(listed.body.toString())).toEqual({
				files: [{ path: "a.txt", is_dir: false, file_size: 5 }],
			});
			for (const [method, path] of [
				["PUT", `${base}/roles/b.txt`],
				["PUT", `${base}/roles/a.txt`],
				["DELETE", `${base}/roles/a.txt`],
				["POST", `${twin}/mlflow-artifacts/mpu/create/roles`],
				["POST", `${twin}/mlflow-artifacts/mpu/complete/roles`],
				["POST", `${twin}/mlflow-artifacts/mpu/abort/roles`],
			] as const) {
				const refused = await ask(method, path, { role: "viewer", body: "other" });
				expect([method, path, refused.status]).toEqual([method, path, 403]);
			}
		}
		expect((await minio.get("roles/a.txt"))?.toString()).toBe("hello");
		expect(await minio.get("roles/b.txt")).toBeUndefined();
		expect(it.upstream.seen).toEqual([]);
	});

	test("an editor stores and may not delete; an admin deletes exactly what was named", async () => {
		for (const name of ["1/a", "1/b/c", "10/a", "1x"]) {
			const stored = await ask("PUT", `${ARTIFACTS}/del/${name}`, { body: name });
			expect([stored.status, stored.body.toString()]).toEqual([200, "{}"]);
		}
		expect((await ask("DELETE", `${ARTIFACTS}/del/1`, { body: "" })).status).toBe(403);
		expect((await minio.get("del/1/a"))?.toString()).toBe("1/a");
		expect((await ask("DELETE", `${ARTIFACTS}/del/1`, { role: "admin" })).status).toBe(200);
		const left = await Promise.all(["1/a", "1/b/c", "10/a", "1x"].map((name) => minio.get(`del/${name}`)));
		expect(left.map((bytes) => bytes?.toString())).toEqual([undefined, undefined, "10/a", "1x"]);
	});

	test("a stranger gets nothing", async () => {
		for (const path of [
			`${ARTIFACTS}/roles/a.txt`,
			ARTIFACTS,
			"/get-artifact?path=a&run_uuid=b",
			`${PART_PATH}?part=1&ticket=x`,
		]) {
			expect((await ask("GET", path, { role: null })).status).toBe(401);
		}
	});
});

describe("what MLflow knows better", () => {
	const RUN = "/api/2.0/mlflow/runs/get?run_id=";

	test("a run is looked up once; its files come from the store", async () => {
		mlflow.set(`${RUN}r1`, runAt("mlflow-artifacts:/7/r1/artifacts"));
		await minio.put("7/r1/artifacts/model/conda.yaml", "name: lab");
		for (let i = 0; i < 2; i++) {
			const got = await ask("GET", "/get-artifact?path=model%2Fconda.yaml&run_uuid=r1", { role: "viewer" });
			expect([got.status, got.body.toString()]).toEqual([200, "name: lab"]);
		}
		const listed = await ask("GET", "/ajax-api/2.0/mlflow/artifacts/list?run_uuid=r1&path=model");
		expect(JSON.parse(listed.body.toString())).toMatchObject({
			root_uri: "mlflow-artifacts:/7/r1/artifacts",
			files: [{ path: "model/conda.yaml" }],
		});
		expect(it.upstream.seen.map(({ url }) => url)).toEqual([`${RUN}r1`]);
	});

	test("an MLmodel comes whole from the store, and not at all with code in it", async () => {
		mlflow.set(`${RUN}r4`, runAt("mlflow-artifacts:/7/r4/artifacts"));
		await minio.put("7/r4/artifacts/good/MLmodel", "flavors: {}");
		await minio.put("7/r4/artifacts/evil/MLmodel", "a: !!js/function 'function () { return 1 }'");
		const good = await ask("GET", "/get-artifact?path=good%2FMLmodel&run_uuid=r4", { role: "viewer" });
		expect([good.status, good.body.toString()]).toEqual([200, "flavors: {}"]);
		const evil = await ask("GET", "/get-artifact?path=evil%2FMLmodel&run_uuid=r4", { role: "viewer" });
		expect(evil.status).toBe(403);
		expect(evil.body.toString()).not.toContain("!!js");
		expect((await ask("GET", "/get-artifact?path=none%2FMLmodel&run_uuid=r4")).status).toBe(404);
	});

	test("a run elsewhere, or none, is MLflow's to answer; a HEAD of it is not", async () => {
		mlflow.set(`${RUN}r2`, runAt("s3://other-bucket/r2"));
		mlflow.set("/get-artifact?path=a&run_uuid=r2", { from: "MLflow" });
		const got = await ask("GET", "/get-artifact?path=a&run_uuid=r2", { role: "viewer" });
		expect(JSON.parse(got.body.toString())).toEqual({ from: "MLflow" });
		expect((await ask("GET", "/get-artifact?path=a&run_uuid=none")).status).toBe(404);
		it.upstream.seen.length = 0;
		const head = await ask("HEAD", "/get-artifact?path=a&run_uuid=none");
		expect([head.status, codeOf(head)]).toEqual([405, "HEAD_DOWNLOAD"]);
		expect(it.upstream.seen.map(({ method }) => method)).toEqual(["GET"]);
	});

	test.each([
		["runs:/r9/model", 200],
		["runs:/r9/model/", 200],
		["runs:/none/model", 404],
		["runs:/r9/../r8/model", 404],
		["runs:/r9/model?x=y", 404],
	])("a version that was made from %s is looked for there", async (source, status) => {
		const name = encodeURIComponent(source);
		const where = `/api/2.0/mlflow/model-versions/get-download-uri?name=${name}&version=1`;
		mlflow.set(where, { artifact_uri: source });
		mlflow.set(`${RUN}r9`, runAt("mlflow-artifacts:/7/r9/artifacts"));
		await minio.put("7/r9/artifacts/model/f", "of a run");
		const got = await ask("GET", `/model-versions/get-artifact?path=f&name=${name}&version=1`);
		expect(got.status).toBe(status);
		if (status === 200) expect(got.body.toString()).toBe("of a run");
	});

	test("a change of the registry makes the door look a version up anew", async () => {
		const where = "/api/2.0/mlflow/model-versions/get-download-uri?name=m&version=1";
		mlflow.set(where, { artifact_uri: "mlflow-artifacts:/7/old" });
		await minio.put("7/old/f", "old");
		await minio.put("7/new/f", "new");
		const read = async () =>
			(await ask("GET", "/model-versions/get-artifact?path=f&name=m&version=1")).body.toString();
		expect(await read()).toBe("old");
		mlflow.set(where, { artifact_uri: "mlflow-artifacts:/7/new" });
		expect(await read()).toBe("old");
		await ask("DELETE", "/api/2.0/mlflow/registered-models/delete", { role: "admin", body: "{}" });
		expect(await read()).toBe("new");
	});
});

describe("a credential that ends", () => {
	test("cuts a download", async () => {
		await minio.put("long", pattern(24 * 1024 * 1024));
		const { promise, resolve } = Promise.withResolvers<number>();
		const sent = httpRequest(
			{
				port: it.port,
				host: "127.0.0.1",
				path: `${ARTIFACTS}/long`,
				headers: { host: HOST, authorization: "Bearer viewer" },
			},
			(res) => {
				let bytes = 0;
				res.once("data", () => it.authority.revoked.add("viewer"));
				res.on("data", (chunk: Buffer) => {
					bytes += chunk.length;
					// Slower than the sweep.
					res.pause();
					setTimeout(() => res.resume(), 20);
				});
				res.on("error", () => {});
				res.on("close", () => resolve(bytes));
			},
		);
		sent.on("error", () => {});
		sent.end();
		expect(await promise).toBeLessThan(24 * 1024 * 1024);
	});

	test("ends an upload, of which nothing is visible then and no part stays", async () => {
		const { promise, resolve } = Promise.withResolvers<number>();
		const sent = httpRequest(
			{
				port: it.port,
				host: "127.0.0.1",
				method: "PUT",
				path: `${ARTIFACTS}/revoked.bin`,
				headers: {
					host: HOST,
					authorization: "Bearer editor",
					"content-length": String(40 * 1024 * 1024),
				},
			},
			(res) => {
				res.resume();
				resolve(res.statusCode ?? 0);
			},
		);
		sent.on("error", () => {});
		sent.write(pattern(20 * 1024 * 1024));
		await eventually(async () => (await minio.partsOnDisk()).length > 0);
		it.authority.revoked.add("editor");
		expect(await promise).toBe(401);
		await eventually(async () => (await minio.partsOnDisk()).length === 0);
		expect(await minio.get("revoked.bin")).toBeUndefined();
		sent.destroy();
	});
});

describe("the client's own multipart upload", () => {
	const begin = async (role: Role = "editor") => {
		const begun = await ask("POST", `${MPU}/create/mpu`, {
			role,
			body: JSON.stringify({ path: "/local/w.bin", num_parts: 2 }),
			headers: { "content-type": "application/json" },
		});
		expect(begun.status).toBe(200);
		return JSON.parse(begun.body.toString()) as {
			upload_id: string;
			credentials: { url: string; part_number: number }[];
		};
	};
	const pathOf = (url: string | undefined) => url?.replace(`http://${HOST}`, "") ?? "";

	test("puts parts with nothing but their URL, and what is complete is there", async () => {
		const { upload_id, credentials } = await begin();
		const data = [pattern(5 * 1024 * 1024, 3), pattern(1000, 4)];
		const parts = [];
		for (const { url, part_number } of credentials) {
			expect(url.startsWith(`http://${HOST}${PART_PATH}?`)).toBe(true);
			const put = await ask("PUT", pathOf(url), { role: null, body: data[part_number - 1] as Buffer });
			expect([put.status, put.body.length]).toEqual([200, 0]);
			parts.push({ part_number, etag: put.headers.etag });
		}
		expect(await minio.get("mpu/w.bin")).toBeUndefined();
		const done = await ask("POST", `${MPU}/complete/mpu`, {
			body: JSON.stringify({ path: "/local/w.bin", upload_id, parts }),
			headers: { "content-type": "application/json" },
		});
		expect([done.status, done.body.toString()]).toEqual([200, "{}"]);
		expect((await minio.get("mpu/w.bin"))?.equals(Buffer.concat(data))).toBe(true);
	});

	test("a ticket says what may be put, and ends with the credential it was given to", async () => {
		const { upload_id, credentials } = await begin("admin");
		const path = pathOf(credentials[0]?.url);
		const put = (at: string, method = "PUT") => ask(method, at, { role: null, body: "x" });
		// The last character of a MAC may stand for bits that do not count; the one before it counts.
		const forged = `${path.slice(0, -2)}${path.at(-2) === "A" ? "B" : "A"}${path.at(-1)}`;
		for (const wrong of [
			forged,
			path.replace("part=1", "part=3"),
			path.replace("part=1", "part=0"),
			`${PART_PATH}?part=1`,
			`${PART_PATH}?part=1&ticket=`,
			`${PART_PATH}?part=1&ticket=e30.e30`,
		]) {
			const refused = await put(wrong);
			expect([wrong, refused.status, codeOf(refused)]).toEqual([wrong, 403, "UPLOAD_TICKET"]);
		}
		// No other method, and no other route, takes it for a credential.
		expect((await put(path, "POST")).status).toBe(401);
		expect((await ask("GET", path, { role: null })).status).toBe(401);
		expect((await put(path.replace(PART_PATH, `${ARTIFACTS}/mpu/x`))).status).toBe(401);
		// The role it was made with counts no more than what parts need.
		it.authority.revoked.add("admin");
		it.authority.revoked.add("editor");
		const late = await put(path);
		expect([late.status, codeOf(late)]).toEqual([401, "CREDENTIAL_ENDED"]);
		it.authority.revoked.clear();
		expect((await put(path)).status).toBe(200);
		const aborted = await ask("POST", `${MPU}/abort/mpu`, {
			body: JSON.stringify({ path: "/local/w.bin", upload_id }),
			headers: { "content-type": "application/json" },
		});
		expect(aborted.status).toBe(200);
		const gone = await put(path);
		expect([gone.status, codeOf(gone)]).toEqual([404, "UPLOAD_UNKNOWN"]);
	});
});

describe("what the door tells", () => {
	test("a round trip to the store is part of ready", async () => {
		const ready = await ask("GET", "/door/ready", { role: "viewer" });
		const { checks } = JSON.parse(ready.body.toString()) as { checks: { name: string; ok: boolean }[] };
		expect(checks).toContainEqual(expect.objectContaining({ name: "minio", ok: true }));
	});

	test("an object goes in, comes back and is removed, and nothing of it stays", async () => {
		expect(await it.door.writes()).toEqual([
			{ name: "minio: put, get, delete", ok: true, ms: expect.any(Number) },
		]);
		const listing = await minio.s3("GET", "", { "list-type": "2", prefix: ".mlgate/" });
		expect([listing.status, await listing.text()]).toEqual([200, expect.stringContaining("<KeyCount>0<")]);
	});

	test("bytes are counted, refusals by their code", async () => {
		const count = async (name: string) =>
			Number(new RegExp(`^${name} (\\d+)`, "m").exec(await it.door.metrics.registry.metrics())?.[1] ?? 0);
		const down = 'door_artifact_bytes_total\\{way="down"\\}';
		const up = 'door_artifact_bytes_total\\{way="up"\\}';
		const missing = 'door_refusals_total\\{code="ARTIFACT_MISSING"\\}';
		const before = await Promise.all([down, up, missing].map(count));
		await ask("PUT", `${ARTIFACTS}/counted`, { body: "12345" });
		await ask("GET", `${ARTIFACTS}/counted`);
		await ask("GET", `${ARTIFACTS}/counted/not`);
		const after = await Promise.all([down, up, missing].map(count));
		expect(after.map((value, i) => value - (before[i] ?? 0))).toEqual([5, 5, 1]);
	});

	test("a name with # that nobody stored is an empty folder to MLflow's client", async () => {
		const listed = await ask("GET", `${ARTIFACTS}?path=mpu%2Fweights+v1%23%C3%A9.bin`);
		expect([listed.status, JSON.parse(listed.body.toString())]).toEqual([200, {}]);
	});
});
