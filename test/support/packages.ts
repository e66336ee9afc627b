/** Debian packages that tests and benches need beside the product. */
import { spawnSync } from "node:child_process";
import { existsSync, rmSync, writeFileSync } from "node:fs";

export interface Need {
	/** One of these files is there when the packages are; or a question of its own. */
	there: readonly string[] | (() => boolean);
	packages: readonly string[];
}

/** Asked by Debian's maintainer scripts: nothing that comes along with a package is started as a service. */
const POLICY = "/usr/sbin/policy-rc.d";

const isThere = ({ there }: Need): boolean =>
	typeof there === "function" ? there() : there.some((file) => existsSync(file));

/**
 * Installs what is missing, or ends the process and says what to type.
 * @param whose `the tests`
 */
export function ensurePackages(needed: readonly Need[], whose: string): void {
	const packages = needed.filter((need) => !isThere(need)).flatMap((need) => need.packages);
	if (packages.length === 0) return;
	if (process.getuid?.() !== 0) {
		process.stderr.write(`Needed for ${whose}: sudo apt-get install ${packages.join(" ")}\n`);
		process.exit(3);
	}
	process.stderr.write(`Installing ${packages.join(", ")} for ${whose}\n`);
	const quiet = !existsSync(POLICY);
	if (quiet) writeFileSync(POLICY, "#!/bin/sh\nexit 101\n", { mode: 0o755 });
	try {
		const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
		for (const args of [["update"], ["install", "-y", "--no-install-recommends", ...packages]]) {
			const ended = spawnSync("apt-get", args, { env, stdio: ["ignore", "ignore", "inherit"] });
			if (ended.status !== 0) process.exit(ended.status ?? 1);
		}
	} finally {
		if (quiet) rmSync(POLICY, { force: true });
	}
}
