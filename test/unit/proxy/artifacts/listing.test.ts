import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startMinio, type TestMinio } from "../../../support/minio.ts";
import { type Rig, rig, runAt, runPath } from "./support.ts";

const START = 900_000;

let minio: TestMinio;
let door: Rig;

/** Many objects, several at a time. */
async function fill(keys: readonly string[]): Promise<void> {
	const queue = [...keys];
	const worker = async () => {
		for (let key = queue.pop(); key !== undefined; key = queue.pop()) await minio.put(key, "x");
	};
	await Promise.all(Array.from({ length: 8 }, worker));
}

beforeAll(async () => {
	minio = await startMinio();
	door = await rig(minio);
}, START);

afterAll(async () => {
	await door?.close();
	await minio?.close();
});

const list = async (path?: string) => {
	const query = path === undefined ? "" : `?path=${encodeURIComponent(path)}`;
	return await fetch(`${door.origin}/artifacts${query}`);
};
const names = async (path?: string): Promise<string[]> =>
	((await (await list(path)).json()) as { files?: { path: string }[] }).files?.map((f) => f.path) ?? [];
const remove = (path: string) =>
	fetch(`${door.origin}/artifacts/${encodeURIComponent(path)}`, { method: "DELETE" });

describe("a list", () => {
	test("is MLflow's, to the byte", async () => {
		await minio.put("5/r/artifacts/a.txt", "hello");
		await minio.put("5/r/artifacts/zero", "");
		await minio.put("5/r/artifacts/sub/x", "x");
		await minio.put("5/r/artifacts/ü +%20&<.txt", "x");
		const answer = await list("5/r/artifacts");
		expect([answer.status, answer.headers.get("content-type")]).toEqual([200, "application/json"]);
		expect(await answer.text()).toBe(`{
  "files": [
    {
      "path": "a.txt",
      "is_dir": false,
      "file_size": 5
    },
    {
      "path": "sub",
      "is_dir": true
    },
    {
      "path": "zero",
      "is_dir": false
    },
    {
      "path": "\\u00fc +%20&<.txt",
      "is_dir": false,
      "file_size": 1
    }
  ]
}`);
	});

	test("of a run has the run's root and paths below it", async () => {
		door.mlflow.set(runPath("r"), runAt("mlflow-artifacts:/5/r/artifacts"));
		const of = async (path: string) => await (await fetch(`${door.origin}/run-list?run_id=r${path}`)).text();
		expect(JSON.parse(await of("&path=sub"))).toEqual({
			root_uri: "mlflow-artifacts:/5/r/artifacts",
			files: [{ path: "sub/x", is_dir: false, file_size: 1 }],
		});
		expect(await of("&path=none")).toBe('{\n  "root_uri": "mlflow-artifacts:/5/r/artifacts"\n}');
		expect(JSON.parse(await of("")).files).toHaveLength(4);
		door.mlflow.set(runPath("far"), runAt("s3://elsewhere/x"));
		expect((await fetch(`${door.origin}/run-list?run_id=far`)).status).toBe(299);
		expect((await fetch(`${door.origin}/run-list?run_id=unknown`)).status).toBe(299);
		expect((await fetch(`${door.origin}/run-list`)).status).toBe(299);
	});

	test("of nothing, and of a file, is empty", async () => {
		for (const path of ["5/none", "5/r/artifacts/a.txt"]) expect(await (await list(path)).text()).toBe("{}");
	});

	test("of everything begins at the root", async () => {
		expect(await names()).toContain("5");
		expect(await names("")).toEqual(await names());
	});

	test("knows no neighbour whose name begins alike", async () => {
		await fill(["7/a", "77/b", "7x/c"]);
		expect(await names("7")).toEqual(["a"]);
	});

	test("has all pages", async () => {
		const keys = Array.from({ length: 1050 }, (_, i) => `6/d${String(i).padStart(4, "0")}/f`);
		await fill([...keys, "6/file"]);
		const found = await names("6");
		expect(found).toEqual([...keys.map((key) => key.split("/")[1]), "file"]);
	}, 120_000);

	test.each(["..", "5/..", "/5", "5/", "5//r", "."])("of %j is refused", async (path) => {
		const answer = await list(path);
		expect([answer.status, await answer.json()]).toEqual([
			400,
			{ error_code: "INVALID_PARAMETER_VALUE", message: "Invalid path" },
		]);
	});
	test("that is long goes out compressed to who takes it, and is the same", async () => {
		await fill(Array.from({ length: 60 }, (_, i) => `7/long/artifacts/a-name-that-repeats-itself-${i}`));
		const asked = async (coding: string) => {
			const answer = await fetch(`${door.origin}/artifacts?path=7/long/artifacts`, {
				headers: { "accept-encoding": coding },
			});
			const { "content-encoding": used, "content-length": length } = Object.fromEntries(answer.headers);
			return { used, length: Number(length), text: await answer.text() };
		};
		const [plain, brotli, gzip] = [await asked("identity"), await asked("br"), await asked("gzip, deflate")];
		expect([plain.used, brotli.used, gzip.used]).toEqual([undefined, "br", "gzip"]);
		expect(JSON.parse(plain.text).files).toHaveLength(60);
		expect([brotli.text, gzip.text]).toEqual([plain.text, plain.text]);
		expect(Math.max(brotli.length, gzip.length)).toBeLessThan(plain.length / 4);
	});
});

describe("a delete", () => {
	test("takes a directory with everything in it, and no neighbour", async () => {
		const inside = Array.from({ length: 1020 }, (_, i) => `8/run/artifacts/n${i}`);
		await fill([...inside, "8/run/artifacts/deep/er/x", "8/run2/artifacts/x", "88/x", "8x"]);
		const answer = await remove("8/run");
		expect([answer.status, await answer.text()]).toEqual([200, "{}"]);
		expect(await names("8")).toEqual(["run2"]);
		expect(await names("88")).toEqual(["x"]);
		expect(await minio.get("8x")).toBeDefined();
		await remove("8");
		expect(await names("8")).toEqual([]);
		expect(await names("88")).toEqual(["x"]);
	}, 120_000);

	test("takes just the file that it names", async () => {
		await fill(["9/a", "9/ab", "9/a.b"]);
		expect((await remove("9/a")).status).toBe(200);
		expect(await names("9")).toEqual(["a.b", "ab"]);
	});

	test("takes names that XML cannot carry, or only in other words", async () => {
		const odd = ["10/ctl\u0017x", "10/<&>\"'", "10/tab\tx", "10/日本 😀", "10/%17", "10/a+b c"];
		await fill([...odd, "10/stays"]);
		for (const name of await names("10")) {
			if (name !== "stays" && !name.includes("\u0017") && !name.includes("\t")) {
				expect([name, (await remove(`10/${name}`)).status]).toEqual([name, 200]);
			}
		}
		expect((await names("10")).sort()).toEqual(["ctl\u0017x", "stays", "tab\tx"]);
		await remove("10");
		expect(await names("10")).toEqual([]);
	});

	test("of nothing is no error", async () => {
		const answer = await remove("11/none");
		expect([answer.status, await answer.text()]).toEqual([200, "{}"]);
	});

	test.each(["", ".", "..", "/", "5/..", "./", "5//", "5/"])("of %j is refused", async (path) => {
		const before = await names();
		expect((await remove(path)).status).toBeGreaterThanOrEqual(400);
		expect(await names()).toEqual(before);
	});
});
