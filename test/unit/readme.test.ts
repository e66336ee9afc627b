import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { settingsMarkdown } from "../../infra/settings.ts";

const README = readFileSync(new URL("../../README.md", import.meta.url), "utf8");

/** What stands between `<!-- name -->` and `<!-- /name -->`. */
function block(name: string): string {
	const found = new RegExp(`<!-- ${name} -->\\n([\\s\\S]*?)\\n<!-- /${name} -->`).exec(README)?.[1];
	if (found === undefined) throw new Error(`README.md has no block ${name}`);
	return found;
}

describe("the README", () => {
	test("has the table of settings that the program goes by", () => {
		expect(block("settings")).toBe(settingsMarkdown().trim());
	});

	test("names every command there is, and none that there is not", async () => {
		const { COMMANDS } = await import("../../ops/commands.ts");
		const named = [...block("commands").matchAll(/^\| `(\w+)/gm)].map((match) => match[1]);
		expect(named.sort()).toEqual(COMMANDS.map((command) => command.name).sort());
	});
});
