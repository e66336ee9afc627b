// `npm test`: installs what is missing, checks types and style, runs every test, and ends with one line
// "N passed, N failed, N skipped" counted from the runner's own report.
import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { ensureDependencies, node24 } from "../ops/lib/bootstrap.mjs";

const checkout = dirname(dirname(fileURLToPath(import.meta.url)));
const report = join(checkout, ".mlgate", "test-report.json");

function run(program, ...args) {
	return spawnSync(program, args, { cwd: checkout, stdio: "inherit" }).status ?? 1;
}

await ensureDependencies();
const node = node24();
const modules = join(checkout, "node_modules");
mkdirSync(dirname(report), { recursive: true });
rmSync(report, { force: true });

const checks = {
	types: () => run(node, join(modules, "typescript", "bin", "tsc"), "--noEmit"),
	style: () => run(node, join(modules, "@biomejs", "biome", "bin", "biome"), "check"),
	system: () => run(node, join(checkout, "test", "support", "install.ts")),
	tests: () =>
		run(
			node,
			join(modules, "vitest", "vitest.mjs"),
			"run",
			"--reporter=default",
			"--reporter=json",
			`--outputFile.json=${report}`,
			...process.argv.slice(2),
		),
};

let broken = 0;
for (const [name, check] of Object.entries(checks)) {
	if (check() === 0) continue;
	process.stderr.write(`\n${name}: failed\n`);
	if (name !== "tests") broken += 1;
	if (name === "system") break;
}

let counted = {
	numPassedTests: 0,
	numFailedTests: 0,
	numPendingTests: 0,
	numTodoTests: 0,
	success: false,
	testResults: [],
};
try {
	counted = JSON.parse(readFileSync(report, "utf8"));
} catch {
	broken += 1;
}
// A file that fails before its first test has no failed test to count.
const brokenFiles = counted.testResults.filter(
	(file) => file.status === "failed" && !file.assertionResults.some((test) => test.status === "failed"),
).length;
const failed = counted.numFailedTests + brokenFiles + broken;
const skipped = counted.numPendingTests + counted.numTodoTests;
process.stdout.write(`\n${counted.numPassedTests} passed, ${failed} failed, ${skipped} skipped\n`);
process.exit(failed === 0 && counted.success && counted.numPassedTests > 0 ? 0 : 1);
