import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { imageRef } from "../../infra/images.ts";
import { CHECKOUT, run } from "../support/mlgate.ts";

const ROUTES = join(CHECKOUT, "proxy", "routes");

describe("the route map", () => {
	test("is what the MLflow image itself serves", async () => {
		const ended = await run(
			"docker",
			["run", "--rm", "-i", "--network", "none", "--entrypoint", "python", imageRef("mlflow"), "-"],
			{ input: readFileSync(join(ROUTES, "generate.py"), "utf8") },
		);
		expect(ended.code, ended.stderr).toBe(0);
		const served = JSON.parse(ended.stdout.slice(ended.stdout.search(/[[{]/)));
		const committed = JSON.parse(readFileSync(join(ROUTES, "mlflow-2.13.0.json"), "utf8"));
		expect(served).toEqual(committed);
	});
});
