// `npm test`: installs what is missing, checks types and style, runs every test, and ends with one line
// "N passed, N failed, N skipped" counted from the runner's own reports.
import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { ensureDependencies, node24 } from "../ops/lib/bootstrap.mjs";

const checkout = dirname(dirname(fileURLToPath(import.meta.url)));
const modules = join(checkout, "node_modules");
const reports = join(checkout, ".mlgate", "test-reports");

const PROJECT = "--project=";
const wanted = process.argv.slice(2).filter((word) => word.startsWith(PROJECT));
/** For vitest: a file or `-t <name>`, which a project may have nothing of. */
const wishes = process.argv.slice(2).filter((word) => !word.startsWith(PROJECT));

/** Projects of vitest.config.ts. One after the other: a stack that does not come up leaves the unit tests their say. */
const projects = wanted.length > 0 ? wanted.map((word) => word.slice(PROJECT.length)) : ["unit", "e2e"];

await ensureDependencies();
const node = node24();

function run(program, ...args) {
	return spawnSync(program, args, { cwd: checkout, stdio: "inherit" }).status ?? 1;
}

const checks = {
	types: () => run(node, join(modules, "typescript", "bin", "tsc"), "--noEmit"),
	style: () => run(node, join(modules, "@biomejs", "biome", "bin", "biome"), "check"),
	system: () => run(node, join(checkout, "test", "support", "install.ts")),
};

const counted = { passed: 0, failed: 0, skipped: 0 };

function fail(what) {
	process.stderr.write(`\n${what}: failed\n`);
	counted.failed += 1;
}

/** @returns the counts of one project's run. What failed without a test to count (a file, the set-up) counts as one. */
function runProject(name) {
	const report = join(reports, `${name}.json`);
	rmSync(report, { force: true });
	const status = run(
		node,
		join(modules, "vitest", "vitest.mjs"),
		"run",
		`--project=${name}`,
		"--reporter=default",
		"--reporter=json",
		`--outputFile.json=${report}`,
		...(wishes.length > 0 ? ["--passWithNoTests", ...wishes] : []),
	);
	let result;
	try {
		result = JSON.parse(readFileSync(report, "utf8"));
	} catch {
		return fail(name);
	}
	const brokenFiles = result.testResults.filter(
		(file) => file.status === "failed" && !file.assertionResults.some((test) => test.status === "failed"),
	).length;
	const failed = result.numFailedTests + brokenFiles;
	counted.passed += result.numPassedTests;
	counted.failed += failed;
	counted.skipped += result.numPendingTests + result.numTodoTests;
	if (failed === 0 && (status !== 0 || !result.success)) fail(name);
}

mkdirSync(reports, { recursive: true });
for (const [name, check] of Object.entries(checks)) if (check() !== 0) fail(name);
for (const name of projects) runProject(name);

const { passed, failed, skipped } = counted;
process.stdout.write(`\n${passed} passed, ${failed} failed, ${skipped} skipped\n`);
process.exit(failed === 0 && passed > 0 ? 0 : 1);
