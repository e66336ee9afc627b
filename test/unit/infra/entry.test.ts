import { readFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { describe, expect, it } from "vitest";
import { YAML } from "zx";
import { PROJECT } from "../../../infra/contract.ts";

const ROOT = join(import.meta.dirname, "../../..");
const project = YAML.parse(readFileSync(join(ROOT, "Pulumi.yaml"), "utf8"));

describe("the program, for people with Pulumi's own CLI", () => {
	it("is found by Pulumi.yaml and has nothing but a default export, a function", async () => {
		// Pulumi takes a default export or named ones, never both.
		const entry = await import(pathToFileURL(join(ROOT, project.main)).href);
		expect(Object.keys(entry)).toEqual(["default"]);
		expect(entry.default).toBeTypeOf("function");
	});

	it("is what package.json calls main, which Pulumi would take first", () => {
		const { main, type } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8"));
		expect(main).toBe(project.main);
		expect(type).toBe("module");
	});

	it("is the same project, with the state where mlgate keeps it, looked at before every run", () => {
		expect(project.name).toBe(PROJECT);
		expect(project.backend.url).toBe("file://./.mlgate/state");
		expect(project.options.refresh).toBe("always");
		// Node runs TypeScript itself; Pulumi's own way would need ts-node.
		expect(project.runtime).toEqual({ name: "nodejs", options: { typescript: false } });
	});

	it("reads as the picture: at most 60 lines", () => {
		expect(readFileSync(join(ROOT, project.main), "utf8").split("\n").length - 1).toBeLessThanOrEqual(60);
	});
});
