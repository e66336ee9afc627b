// What the tests need beside the product itself: a Chromium, with fonts for what the example's data is written in.
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { CHROMIUM } from "./chromium.ts";

if (!existsSync(CHROMIUM)) {
	const packages = ["chromium", "fonts-noto-cjk"];
	if (process.getuid?.() !== 0) {
		process.stderr.write(`The browser tests need Chromium: sudo apt-get install ${packages.join(" ")}\n`);
		process.exit(1);
	}
	process.stderr.write(`Installing ${packages.join(", ")} for the browser tests\n`);
	const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
	for (const args of [["update"], ["install", "-y", "--no-install-recommends", ...packages]]) {
		const ended = spawnSync("apt-get", args, { env, stdio: ["ignore", "ignore", "inherit"] });
		if (ended.status !== 0) process.exit(ended.status ?? 1);
	}
}
