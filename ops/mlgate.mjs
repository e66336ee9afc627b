#!/usr/bin/env node
/**
 * The command `mlgate` for any Node from 18 on: installs the dependencies if need be, then runs ops/main.ts under
 * Node 24. What is written here must be readable by far older versions, so that they can say what is missing.
 */
if (Number.parseInt(process.versions.node, 10) < 18) {
	process.stderr.write(
		`Error: Node ${process.versions.node} is too old.\n  Do this: Install Node 18 or later (Debian 12, Ubuntu 24.04: apt-get install nodejs npm) and run this again.\n`,
	);
	process.exit(3);
}

import("./lib/bootstrap.mjs").then(
	async ({ BootstrapError, ROOT, ensureDependencies, printProblem, runNode24 }) => {
		try {
			await ensureDependencies();
			process.exitCode = await runNode24(`${ROOT}/ops/main.ts`, process.argv.slice(2));
		} catch (error) {
			if (!(error instanceof BootstrapError)) throw error;
			printProblem(error.problem);
			process.exitCode = error.exitCode;
		}
	},
);
