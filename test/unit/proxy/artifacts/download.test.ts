import { get, type IncomingMessage } from "node:http";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startMinio, type TestMinio } from "../../../support/minio.ts";
import { eventually, pattern, type Rig, rig, runAt, runPath } from "./support.ts";

const START = 900_000;
const MIB = 1024 * 1024;

let minio: TestMinio;
let door: Rig;
const big = pattern(48 * MIB);

beforeAll(async () => {
	minio = await startMinio();
	door = await rig(minio, { limits: { idle: 1500, hold: 20_000 } });
	await minio.put("1/r/artifacts/big.bin", big);
	await minio.put("1/r/artifacts/a.txt", "hello world");
	await minio.put("1/r/artifacts/empty.bin", "");
	await minio.put("1/r/artifacts/page.html", "<script>alert(1)</script>");
	await minio.put("1/r/artifacts/sub/dir/f.pkl", "f");
	door.mlflow.set(runPath("r"), runAt("mlflow-artifacts:/1/r/artifacts"));
}, START);

afterAll(async () => {
	await door?.close();
	await minio?.close();
});

const ask = (path: string, headers: Record<string, string> = {}, method = "GET") =>
	fetch(`${door.origin}${path}`, { method, headers });

/** A client that reads only when told to. */
const slowly = (path: string, headers: Record<string, string> = {}): Promise<IncomingMessage> =>
	new Promise((resolve, reject) => {
		get(`${door.origin}${path}`, { headers, agent: false }, resolve).on("error", reject);
	});

async function whole(answer: IncomingMessage): Promise<Buffer> {
	const chunks: Buffer[] = [];
	for await (const chunk of answer) chunks.push(chunk);
	return Buffer.concat(chunks);
}

describe("a file", () => {
	test("comes whole, with its length, its tag, and the headers that keep a browser from running it", async () => {
		const answer = await ask("/artifacts/1/r/artifacts/page.html");
		expect(answer.status).toBe(200);
		expect(Object.fromEntries(answer.headers)).toMatchObject({
			"content-type": "text/html",
			"content-disposition": "attachment; filename=page.html",
			"content-length": "25",
			"content-security-policy": expect.stringMatching(/^sandbox; default-src 'none';/),
			"x-content-type-options": "nosniff",
			"cross-origin-resource-policy": "same-origin",
			"cache-control": "private, no-cache",
			"accept-ranges": "bytes",
			etag: expect.stringMatching(/^"[0-9a-f]{32}"$/),
			"last-modified": expect.stringMatching(/ GMT$/),
		});
		expect(await answer.text()).toBe("<script>alert(1)</script>");
	});

	test("is the same, byte for byte, however big", async () => {
		const answer = await ask("/artifacts/1/r/artifacts/big.bin");
		expect(Buffer.from(await answer.arrayBuffer()).equals(big)).toBe(true);
	});

	test("may be empty", async () => {
		const answer = await ask("/artifacts/1/r/artifacts/empty.bin");
		expect([answer.status, answer.headers.get("content-length"), await answer.text()]).toEqual([
			200,
			"0",
			"",
		]);
	});

	test("answers HEAD with the same headers and no body", async () => {
		const [got, head] = await Promise.all(
			["GET", "HEAD"].map((method) => ask("/artifacts/1/r/artifacts/a.txt", {}, method)),
		);
		const headers = (answer?: Response) => ({
			...Object.fromEntries(answer?.headers ?? []),
			...{ date: "", connection: "", "keep-alive": "" },
		});
		expect(head?.status).toBe(200);
		expect(headers(head)).toEqual(headers(got));
		expect(await head?.text()).toBe("");
	});

	test.each([
		'q"uote.bin',
		"日本 ü.txt",
		"h#sh.txt",
		"100%.txt",
		"a%20b.txt",
		"%2e%2e.x",
		"pl+us &amp;.txt",
		"😀'(x)!*.bin",
	])("may be called %s", async (name) => {
		await minio.put(`1/odd/${name}`, name);
		const answer = await ask(`/artifacts/1/odd/${encodeURIComponent(name)}`);
		expect([answer.status, await answer.text()]).toEqual([200, name]);
	});
});

describe("what is no file", () => {
	test("is 404 in words that MLflow's clients know", async () => {
		const answer = await ask("/artifacts/1/r/artifacts/nothing");
		expect(answer.status).toBe(404);
		expect(await answer.json()).toMatchObject({ error_code: "RESOURCE_DOES_NOT_EXIST" });
		expect(answer.headers.get("x-door-error")).toBe("ARTIFACT_MISSING");
	});

	test("is told to be a directory", async () => {
		for (const path of ["sub", "sub/dir"]) {
			const answer = await ask(`/artifacts/1/r/artifacts/${path}`);
			expect([answer.status, answer.headers.get("x-door-error")]).toEqual([404, "ARTIFACT_DIRECTORY"]);
		}
	});

	test("has no headers of a file and no body for HEAD", async () => {
		const answer = await ask("/artifacts/1/r/artifacts/nothing", {}, "HEAD");
		expect([answer.status, await answer.text(), answer.headers.get("etag")]).toEqual([404, "", null]);
	});

	test("is never found through a path with dots", async () => {
		for (const path of [
			"1/r/../r/artifacts/a.txt",
			"1/./r/artifacts/a.txt",
			"../mlflow/1/r/artifacts/a.txt",
		]) {
			const answer = await ask(`/artifacts/${encodeURIComponent(path)}`);
			expect([answer.status, await answer.json()]).toEqual([
				400,
				{ error_code: "INVALID_PARAMETER_VALUE", message: "Invalid path" },
			]);
		}
	});
});

test("the store's response-override parameters do not pass", async () => {
	const answer = await ask(
		"/artifacts/1/r/artifacts/page.html?response-content-type=text/x&response-content-disposition=inline&versionId=1&partNumber=1",
	);
	expect([
		answer.status,
		answer.headers.get("content-type"),
		answer.headers.get("content-disposition"),
	]).toEqual([200, "text/html", "attachment; filename=page.html"]);
});

describe("parts of a file", () => {
	test.each([
		["bytes=0-4", "bytes 0-4/11", "hello"],
		["bytes=6-", "bytes 6-10/11", "world"],
		["bytes=-3", "bytes 8-10/11", "rld"],
		["bytes=-100", "bytes 0-10/11", "hello world"],
		["bytes=4-99999999999999999999", "bytes 4-10/11", "o world"],
	])("%s is %s", async (range, contentRange, body) => {
		const answer = await ask("/artifacts/1/r/artifacts/a.txt", { range });
		expect([answer.status, answer.headers.get("content-range"), await answer.text()]).toEqual([
			206,
			contentRange,
			body,
		]);
		expect(answer.headers.get("content-length")).toBe(String(body.length));
		expect(answer.headers.get("content-security-policy")).toMatch(/^sandbox; default-src 'none';/);
	});

	test.each(["bytes=0-1,3-4", "items=0-1", "bytes=3-1"])("%s is the whole file", async (range) => {
		const answer = await ask("/artifacts/1/r/artifacts/a.txt", { range });
		expect([answer.status, await answer.text()]).toEqual([200, "hello world"]);
	});

	test.each(["bytes=11-", "bytes=-0"])("%s is 416 and says how long the file is", async (range) => {
		const answer = await ask("/artifacts/1/r/artifacts/a.txt", { range });
		expect([answer.status, answer.headers.get("content-range")]).toEqual([416, "bytes */11"]);
	});

	test.each(["bytes=0-", "bytes=-5", "bytes=3-"])("%s of an empty file is the empty file", async (range) => {
		const answer = await ask("/artifacts/1/r/artifacts/empty.bin", { range });
		expect([answer.status, answer.headers.get("content-range"), await answer.text()]).toEqual([
			200,
			null,
			"",
		]);
	});

	test("count only while the file is the one that the client has a piece of", async () => {
		const etag = (await ask("/artifacts/1/r/artifacts/a.txt", {}, "HEAD")).headers.get("etag") ?? "";
		const path = "/artifacts/1/r/artifacts/a.txt";
		const same = await ask(path, { range: "bytes=0-0", "if-range": etag });
		const other = await ask(path, { range: "bytes=0-0", "if-range": '"other"' });
		expect([same.status, await same.text()]).toEqual([206, "h"]);
		expect([other.status, await other.text()]).toEqual([200, "hello world"]);
	});
});

test("who has the file already is told so, without a body", async () => {
	const path = "/artifacts/1/r/artifacts/a.txt";
	const { headers } = await ask(path, {}, "HEAD");
	const etag = headers.get("etag") ?? "";
	for (const [name, value] of [
		["if-none-match", etag],
		["if-modified-since", headers.get("last-modified") ?? ""],
	] as const) {
		const answer = await ask(path, { [name]: value });
		expect([answer.status, answer.headers.get("etag"), await answer.text()]).toEqual([304, etag, ""]);
	}
	expect((await ask(path, { "if-none-match": '"other"' })).status).toBe(200);
	expect((await ask(path, { "if-match": '"other"' })).status).toBe(412);
});

describe("runs and versions", () => {
	test("are looked up once", async () => {
		const before = door.asked.length;
		for (const query of ["run_uuid=r", "run_id=r", "run_id=r&run_uuid=x"]) {
			const answer = await ask(`/run?path=a.txt&${query}`);
			expect([answer.status, await answer.text()]).toEqual([200, "hello world"]);
		}
		expect(door.asked.length - before).toBeLessThanOrEqual(1);
	});

	test("whose artifacts are elsewhere are left to MLflow, and so is what it does not know", async () => {
		for (const uri of [
			"s3://other/x",
			"file:///etc",
			"mlflow-artifacts:/1/../2",
			"mlflow-artifacts:/a?b",
			"/local",
		]) {
			door.mlflow.set(runPath("elsewhere"), runAt(uri));
			const answer = await ask("/run?path=a.txt&run_uuid=elsewhere");
			expect([uri, answer.status, door.outcome]).toEqual([uri, 299, "fallback"]);
			door.artifacts.forgetVersions();
		}
		for (const query of [
			"",
			"path=a.txt",
			"run_uuid=r",
			"path=a.txt&run_uuid=none",
			"path=a&path=b&run_uuid=r",
			"path[0]=a.txt&path=a.txt&run_uuid=r",
		]) {
			expect([query, (await ask(`/run?${query}`)).status]).toEqual([query, 299]);
		}
		door.mlflow.set(runPath("down"), new Error("MLflow is away"));
		expect((await ask("/run?path=a.txt&run_uuid=down")).status).toBe(299);
	});

	test("may name our store in any of MLflow's ways", async () => {
		for (const [i, uri] of [
			"mlflow-artifacts://some.host:5000/1/r/artifacts",
			"https://elsewhere/prefix/api/2.0/mlflow-artifacts/artifacts/1/r/artifacts/",
			`s3://${minio.bucket}/1/r/artifacts`,
		].entries()) {
			door.mlflow.set(runPath(`way${i}`), runAt(uri));
			expect(await (await ask(`/run?path=a.txt&run_uuid=way${i}`)).text()).toBe("hello world");
		}
	});

	test("stay inside their own artifacts", async () => {
		await minio.put("1/r2/artifacts/secret", "x");
		for (const path of ["../../r2/artifacts/secret", "..%2f..%2fr2", "/1/r2/artifacts/secret", ""]) {
			const answer = await ask(`/run?run_uuid=r&path=${encodeURIComponent(path)}`);
			expect([path, answer.status]).toEqual([path, path.includes("%2f") ? 404 : 400]);
		}
	});

	test("a version is looked up again after the registry has changed", async () => {
		const path = "/api/2.0/mlflow/model-versions/get-download-uri?name=m%20x&version=1";
		door.mlflow.set(path, { artifact_uri: "mlflow-artifacts:/1/r/artifacts" });
		const text = async () => (await ask("/version?path=a.txt&name=m%20x&version=1")).text();
		expect(await text()).toBe("hello world");
		await minio.put("2/q/a.txt", "anew");
		door.mlflow.set(path, { artifact_uri: "mlflow-artifacts:/2/q" });
		expect(await text()).toBe("hello world");
		door.artifacts.forgetVersions();
		expect(await text()).toBe("anew");
	});
});

describe("a client", () => {
	test("that leaves takes the store's connection along, at once", async () => {
		const before = door.wire.received;
		const answer = await slowly("/artifacts/1/r/artifacts/big.bin");
		const open = door.wire.open;
		answer.destroy();
		await eventually(() => door.wire.open < open, 1000);
		expect(door.wire.received - before).toBeLessThan(big.length);
		expect(door.outcome).toBe("handled");
	});

	test("that reads slowly makes the store wait, and nothing piles up in the door", async () => {
		const before = door.wire.received;
		const answer = await slowly("/artifacts/1/r/artifacts/big.bin");
		await new Promise((resolve) => setTimeout(resolve, 700));
		const held = door.wire.received - before;
		expect(held).toBeLessThan(big.length);
		await new Promise((resolve) => setTimeout(resolve, 300));
		expect(door.wire.received - before).toBe(held);
		expect((await whole(answer)).equals(big)).toBe(true);
	});

	test("that does not read at all is cut", async () => {
		const answer = await slowly("/artifacts/1/r/artifacts/big.bin");
		const open = door.wire.open;
		await eventually(() => door.wire.open < open, 8000);
		await expect(whole(answer)).rejects.toThrow("aborted");
	});

	test("whose credential has ended is left to the pipeline, and the store is let go", async () => {
		const answer = await slowly("/artifacts/1/r/artifacts/big.bin");
		const open = door.wire.open;
		door.end();
		await eventually(() => door.wire.open < open, 1000);
		answer.destroy();
	});
});
