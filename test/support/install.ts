// What the tests need beside the product itself: a Chromium, with fonts for what the example's data is written in,
// and the binaries of a Postgres for the tests of the accounts.
import { globSync } from "node:fs";
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
