// What the tests need beside the product itself: a Chromium, with fonts for what the example's data is written in,
// and the binaries of a Postgres for the tests of the accounts. The engine is the product's own to start or install;
// here it comes before the first test that needs one.
import { globSync } from "node:fs";
import { ensureEngine } from "../../ops/lib/engine.ts";
import { createReport } from "../../ops/lib/report.ts";
import { CHROMIUM } from "./chromium.ts";
import { ensurePackages } from "./packages.ts";

ensurePackages(
	[
		{ there: [CHROMIUM], packages: ["chromium", "fonts-noto-cjk"] },
		{ there: ["/usr/bin/ip", "/bin/ip"], packages: ["iproute2"] },
		{
			there: () => globSync("/usr/lib/postgresql/*/bin/initdb").length > 0,
			packages: ["postgresql"],
		},
	],
	"the tests",
);

await ensureEngine(createReport({ stream: process.stderr, log() {} }), { yes: true, interactive: false });
