import { execFile } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { healthCheck } from "../../../infra/health-check.ts";
import { which } from "../../../ops/lib/which.ts";

/** Nothing of it may mean anything to the shell. */
const PATH = "/well?a=1&b=$HOME(2)";

const seen: string[] = [];
const server = createServer((request, response) => {
	seen.push(request.url ?? "");
	response.writeHead(request.url?.startsWith("/well") ? 200 : 503).end();
});
const folder = mkdtempSync(join(tmpdir(), "mlgate-check-"));
let port = 0;

beforeAll(async () => {
	await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
	port = (server.address() as AddressInfo).port;
});
afterAll(() => {
	server.close();
	rmSync(folder, { recursive: true });
});

/** As Docker runs it, in a place that has a shell and this one program. */
function run(check: string, program?: string): Promise<{ code: number; said: string }> {
	const bin = join(folder, program ?? "nothing");
	mkdirSync(bin, { recursive: true });
	const [, script = ""] = healthCheck(check, port);
	const file = program === "node" ? process.execPath : program && which(program);
	// It may be a script itself, which needs more than we leave to the check.
	if (program && file)
		writeFileSync(join(bin, program), `#!/bin/sh\nPATH='${process.env.PATH}' exec '${file}' "$@"\n`, {
			mode: 0o755,
		});
	return new Promise((resolve) => {
		execFile("/bin/sh", ["-c", script], { env: { PATH: bin } }, (error, _stdout, stderr) =>
			resolve({ code: Number(error?.code ?? 0), said: stderr }),
		);
	});
}

describe("the health check of somebody else's image", () => {
	const there = ["curl", "wget", "python3", "node"].filter((name) => name === "node" || which(name));

	it.each(there)("asks with %s if that is what there is: 200 is well, 503 is not", async (program) => {
		seen.length = 0;
		expect((await run(PATH, program)).code).toBe(0);
		expect(seen).toEqual([PATH]);
		expect((await run("/ill", program)).code).not.toBe(0);
		expect(seen).toHaveLength(2);
	});

	it("says what is missing where nothing can ask", async () => {
		const { code, said } = await run("/well");
		expect(code).toBe(1);
		expect(said).toContain("set api.health to a command");
	});

	it("takes what is no path for a command", () => {
		expect(healthCheck("python -c 'import model'", 1)).toEqual(["CMD-SHELL", "python -c 'import model'"]);
	});
});
