import { createHash, randomBytes } from "node:crypto";
import { request as httpRequest } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { beforeAll, describe, expect, test } from "vitest";
import { ALIAS, hostName, PATH, PORT } from "../../infra/contract.ts";
import { python } from "../support/client.ts";
import { docker, NAME, stackPort, token } from "../support/mlgate.ts";

const MIB = 1024 * 1024;
const ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts";
const MINIO = hostName.container(NAME, "minio");
const DOOR = hostName.container(NAME, "door");

let port: number;
let uri: string;
let editor: string;
let viewer: string;

beforeAll(async () => {
	port = await stackPort();
	uri = `http://localhost:${port}`;
	[editor, viewer] = [await token("editor"), await token("viewer")];
});

const last = (stdout: string) => JSON.parse(stdout.trim().split("\n").at(-1) ?? "");
const sha = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");
const as = (who: string) => ({ headers: { authorization: `Bearer ${who}` } });

/** Files of multipart uploads on MinIO's disk, whatever its lists say. */
async function partsOnDisk(): Promise<number> {
	const found = await docker(
		"exec",
		MINIO,
		"find",
		`${PATH.data.minio}/objects/.minio.sys/multipart`,
		"-type",
		"f",
	);
	return found.split("\n").filter((line) => line !== "").length;
}

async function eventually(holds: () => Promise<boolean>, seconds: number): Promise<void> {
	const end = performance.now() + seconds * 1000;
	while (!(await holds().catch(() => false))) {
		if (performance.now() > end) throw new Error(`still not so after ${seconds} s: ${holds}`);
		await sleep(500);
	}
}

async function put(path: string, body: Buffer, who = editor): Promise<void> {
	const answer = await fetch(`${uri}${ARTIFACTS}/${path}`, {
		method: "PUT",
		body: new Uint8Array(body),
		...as(who),
	});
	expect([answer.status, await answer.text()]).toEqual([200, "{}"]);
}

/** Everything that the client does with artifacts; ends with a line of JSON that says what it saw. */
const BEHAVIOUR = `
import hashlib, json, os, tempfile, mlflow
from mlflow.tracking import MlflowClient

names = {
    "plain.txt": b"hello",
    "empty.bin": b"",
    "a b.txt": b"blank",
    "quote'd.txt": b"quote",
    "100%.txt": b"percent",
    "plus+and&equals=.csv": b"a,b",
    "semi;colon,comma.txt": b"semi",
    "blob.bin": os.urandom(70000),
    "é è.txt": b"accents",
    ".hidden": b"dot",
    "nested/deep/er/leaf.json": b"{}",
    "nested/deep/other.html": b"<script>alert(1)</script>",
    "nested/big.bin": os.urandom(9 * 1024 * 1024 + 1),
}
root = tempfile.mkdtemp()
for name, data in names.items():
    path = os.path.join(root, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    open(path, "wb").write(data)

client = MlflowClient()
mlflow.set_experiment(os.environ["EXPERIMENT"])
with mlflow.start_run() as run:
    mlflow.log_artifacts(root)
    mlflow.log_artifacts(os.path.join(root, "nested"), artifact_path="again/and again")
    mlflow.log_artifact(os.path.join(root, "plain.txt"), artifact_path="one")
    mlflow.log_text("text", "texts/t.txt")
    mlflow.log_dict({"a": 1}, "dicts/d.json")
    # Overwrites.
    mlflow.log_text("other", "texts/t.txt")
run_id = run.info.run_id

def tree(folder):
    return {
        os.path.relpath(os.path.join(at, f), folder): hashlib.sha256(open(os.path.join(at, f), "rb").read()).hexdigest()
        for at, _, files in os.walk(folder) for f in files
    }

def listing(path=None):
    return [[f.path, f.is_dir, f.file_size] for f in client.list_artifacts(run_id, path)]

def walk(path=None):
    found = listing(path)
    return found + [entry for f in found if f[1] for entry in walk(f[0])]

def attempt(what):
    try:
        return what()
    except Exception:
        # By a 400 of the door's, by the client's own check of what it was told of MLflow (proxy/deviations.md).
        return "refused"

fresh = lambda: tempfile.mkdtemp()
whole = tree(mlflow.artifacts.download_artifacts(run_id=run_id, dst_path=fresh()))
seen = {
    "same": all(whole.get(name) == hashlib.sha256(data).hexdigest() for name, data in names.items()),
    "files": sorted(whole),
    "walk": walk(),
    "no folder": listing("no/such"),
    "a file as a folder": listing("plain.txt"),
    "with slash": attempt(lambda: listing("nested/")),
    "one": open(mlflow.artifacts.download_artifacts(run_id=run_id, artifact_path="a b.txt", dst_path=fresh())).read(),
    "folder": sorted(tree(mlflow.artifacts.download_artifacts(run_id=run_id, artifact_path="nested/deep", dst_path=fresh()))),
    "text": mlflow.artifacts.load_text(f"runs:/{run_id}/texts/t.txt"),
    "dict": mlflow.artifacts.load_dict(f"runs:/{run_id}/dicts/d.json"),
}
print(json.dumps(seen))
`;

describe("the stock client", () => {
	test("sees with artifacts what it sees without the door", async () => {
		const through = await python(BEHAVIOUR, {
			MLFLOW_TRACKING_URI: uri,
			MLFLOW_TRACKING_TOKEN: editor,
			EXPERIMENT: "artifacts through the door",
		});
		expect(through.stderr + through.stdout).not.toContain("Traceback");
		const direct = await python(
			BEHAVIOUR,
			{
				MLFLOW_TRACKING_URI: `http://${ALIAS.mlflow}:${PORT.mlflow}`,
				EXPERIMENT: "artifacts without the door",
			},
			hostName.network(NAME, "data"),
		);
		expect(direct.stderr + direct.stdout).not.toContain("Traceback");
		const seen = last(through.stdout);
		expect(seen.same).toBe(true);
		expect(seen).toEqual(last(direct.stdout));
		expect(seen.files).toHaveLength(19);
	});

	test("uploads in parts when it is told to, through the door alone", async () => {
		const since = new Date().toISOString();
		const ended = await python(
			`
import hashlib, json, os, tempfile, mlflow
path = os.path.join(tempfile.mkdtemp(), "model weights.bin")
data = os.urandom(23 * 1024 * 1024)
open(path, "wb").write(data)
mlflow.set_experiment("multipart")
with mlflow.start_run() as run:
    mlflow.log_artifact(path, artifact_path="parts")
back = mlflow.artifacts.download_artifacts(run_id=run.info.run_id, artifact_path="parts/model weights.bin", dst_path=tempfile.mkdtemp())
print(json.dumps({"same": open(back, "rb").read() == data}))
`,
			{
				MLFLOW_TRACKING_URI: uri,
				MLFLOW_TRACKING_TOKEN: editor,
				MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD: "true",
				MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE: String(10 * MIB),
				MLFLOW_MULTIPART_UPLOAD_CHUNK_SIZE: String(5 * MIB),
			},
		);
		expect(ended.stderr + ended.stdout).not.toContain("Traceback");
		expect(last(ended.stdout)).toEqual({ same: true });
		const log = await docker("logs", "--since", since, DOOR);
		const parts = log
			.split("\n")
			.filter((line) => line.includes('"route":"/door/artifact-part"') && line.includes('"msg":"request"'));
		expect(parts).toHaveLength(5);
		expect(await partsOnDisk()).toBe(0);
	});

	test("registers a model whose files the pages find, and no page of ours runs them", async () => {
		const ended = await python(
			`
import json, mlflow
from mlflow.tracking import MlflowClient
client = MlflowClient()
mlflow.set_experiment("registered")
with mlflow.start_run() as run:
    mlflow.log_text("flavors: {}", "m/MLmodel")
    mlflow.log_text("<script>alert(1)</script>", "m/evil.html")
client.create_registered_model("artifacts-e2e")
version = client.create_model_version("artifacts-e2e", f"runs:/{run.info.run_id}/m", run.info.run_id)
print(json.dumps({"run": run.info.run_id, "version": version.version}))
`,
			{ MLFLOW_TRACKING_URI: uri, MLFLOW_TRACKING_TOKEN: editor },
		);
		const { run, version } = last(ended.stdout);
		const model = await fetch(
			`${uri}/model-versions/get-artifact?path=MLmodel&name=artifacts-e2e&version=${version}`,
			as(viewer),
		);
		expect([model.status, await model.text()]).toEqual([200, "flavors: {}"]);
		const page = await fetch(`${uri}/get-artifact?path=m%2Fevil.html&run_uuid=${run}`, as(viewer));
		expect(page.status).toBe(200);
		expect(page.headers.get("content-security-policy")).toMatch(/^sandbox; /);
		expect(page.headers.get("content-disposition")).toBe("attachment; filename=evil.html");
		expect(page.headers.get("x-content-type-options")).toBe("nosniff");
		await page.body?.cancel();
	});
});

describe("a download that broke", () => {
	test("goes on from the byte it had reached, of the same object only", async () => {
		const data = randomBytes(3 * MIB);
		await put("e2e/resume.bin", data);
		const path = `${uri}${ARTIFACTS}/e2e/resume.bin`;
		const whole = await fetch(path, as(viewer));
		const etag = whole.headers.get("etag") ?? "";
		expect(Number(whole.headers.get("content-length"))).toBe(data.length);
		await whole.body?.cancel();
		const rest = await fetch(path, {
			headers: { ...as(viewer).headers, range: `bytes=${2 * MIB}-`, "if-range": etag },
		});
		expect([rest.status, rest.headers.get("content-range")]).toEqual([
			206,
			`bytes ${2 * MIB}-${3 * MIB - 1}/${3 * MIB}`,
		]);
		expect(Buffer.from(await rest.arrayBuffer()).equals(data.subarray(2 * MIB))).toBe(true);
		const other = randomBytes(MIB);
		await put("e2e/resume.bin", other);
		const changed = await fetch(path, {
			headers: { ...as(viewer).headers, range: "bytes=1000-", "if-range": etag },
		});
		expect(changed.status).toBe(200);
		expect(sha(Buffer.from(await changed.arrayBuffer()))).toBe(sha(other));
	});
});

describe("a store that restarts", () => {
	test("is a pause in a download, and a wait for those that begin meanwhile", async () => {
		const data = randomBytes(96 * MIB);
		await put("e2e/restart.bin", data);
		const answer = await fetch(`${uri}${ARTIFACTS}/e2e/restart.bin`, as(viewer));
		const hash = createHash("sha256");
		let bytes = 0;
		let restarted: Promise<string> | undefined;
		let meanwhile: Promise<Response> | undefined;
		for await (const chunk of answer.body as AsyncIterable<Uint8Array>) {
			hash.update(chunk);
			bytes += chunk.length;
			if (restarted === undefined && bytes > 8 * MIB) {
				restarted = docker("restart", "--time", "20", MINIO);
				await sleep(2000);
				meanwhile = fetch(`${uri}${ARTIFACTS}/e2e/resume.bin`, as(viewer));
			}
		}
		expect(bytes).toBe(data.length);
		expect(hash.digest("hex")).toBe(sha(data));
		const later = await meanwhile;
		expect(later?.status).toBe(200);
		await later?.body?.cancel();
		await restarted;
		const log = await docker("logs", "--tail", "200", DOOR);
		expect(log).toContain("a download is being resumed");
	});
});

describe("a door that is killed in the middle of an upload", () => {
	test("leaves nothing to be seen, and what it left is swept away after its start", async () => {
		const sent = httpRequest({
			host: "127.0.0.1",
			port,
			method: "PUT",
			path: `${ARTIFACTS}/e2e/killed.bin`,
			headers: {
				host: `localhost:${port}`,
				authorization: `Bearer ${editor}`,
				"content-length": String(60 * MIB),
			},
		});
		const broken = new Promise((resolve) => sent.on("error", resolve));
		sent.write(randomBytes(30 * MIB));
		await eventually(async () => (await partsOnDisk()) > 0, 60);
		await docker("kill", "--signal", "KILL", DOOR);
		await broken;
		expect(await partsOnDisk()).toBeGreaterThan(0);
		await docker("start", DOOR);
		await eventually(async () => (await fetch(`${uri}/door/health`)).ok, 60);
		const answer = await fetch(`${uri}${ARTIFACTS}/e2e/killed.bin`, as(viewer));
		expect([answer.status, await answer.json()]).toMatchObject([
			404,
			{ error_code: "RESOURCE_DOES_NOT_EXIST" },
		]);
		// Promised within five minutes; the first sweep is at once.
		await eventually(async () => (await partsOnDisk()) === 0, 120);
	});
});
