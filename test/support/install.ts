// What the tests need beside the product itself: a Chromium, with fonts for what the example's data is written in,
// and the binaries of a Postgres for the tests of the accounts.
import { spawnSync } from "node:child_process";
import { existsSync, globSync } from "node:fs";
import { CHROMIUM } from "./chromium.ts";

const NEEDED = [
	{ there: () => existsSync(CHROMIUM), packages: ["chromium", "fonts-noto-cjk"] },
	{ there: () => globSync("/usr/lib/postgresql/*/bin/initdb").length > 0, packages: ["postgresql"] },
];
const packages = NEEDED.filter(({ there }) => !there()).flatMap((need) => need.packages);

if (packages.length > 0) {
	if (process.getuid?.() !== 0) {
		process.stderr.write(`The tests need more: sudo apt-get install ${packages.join(" ")}\n`);
		process.exit(1);
	}
	process.stderr.write(`Installing ${packages.join(", ")} for the browser tests\n`);
	const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
	for (const args of [["update"], ["install", "-y", "--no-install-recommends", ...packages]] as const) {
		const ended = spawnSync("apt-get", args, { env, stdio: ["ignore", "ignore", "inherit"] });
		if (ended.status !== 0) process.exit(ended.status ?? 1);
	}
}
