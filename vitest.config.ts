import { defineConfig } from "vitest/config";
import { BaseSequencer, type TestSpecification } from "vitest/node";

/** The first admin can come once to a stack. All other files take it as they find it, and come by name. */
const FIRST = "/test/e2e/browser.test.ts";

/** Each brings up an engine and a stack of its own, and needs no other beside it. */
const ENGINE = ["test/faults/prune.test.ts", "test/faults/disk-full.test.ts"];

/** The same order each time, whatever the cache remembers of sizes and failures. */
class ByName extends BaseSequencer {
	override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
		const rank = ({ moduleId }: TestSpecification) => `${moduleId.endsWith(FIRST) ? 0 : 1} ${moduleId}`;
		return files.toSorted((one, other) => (rank(one) < rank(other) ? -1 : 1));
	}
}

/**
 * `unit` starts what it needs by itself: a Postgres, a Chromium, a MinIO. `e2e` brings up a stack of its own (engine, Postgres, MinIO, MLflow, door)
 * and shares it: its files run one after the other. `faults` (`npm run test:faults`) breaks such a stack in every way
 * while people work on it, and kills commands at every step. It takes more than an hour. `engine` belongs to it: stacks
 * on engines of their own, which are pruned, ended and killed, and whose disk is filled.
 * `funnel` (`npm run test:funnel`) brings such a stack into a tailnet that is simulated.
 */
export default defineConfig({
	test: {
		sequence: { sequencer: ByName },
		projects: [
			{
				test: {
					name: "unit",
					include: ["test/unit/**/*.test.ts"],
					testTimeout: 60_000,
					hookTimeout: 60_000,
				},
			},
			{
				test: {
					name: "e2e",
					include: ["test/e2e/**/*.test.ts"],
					globalSetup: ["test/support/global-stack.ts"],
					fileParallelism: false,
					testTimeout: 300_000,
					hookTimeout: 1_800_000,
					sequence: { groupOrder: 1 },
				},
			},
			{
				test: {
					name: "funnel",
					include: ["test/funnel/**/*.test.ts"],
					globalSetup: ["test/support/global-stack.ts"],
					fileParallelism: false,
					testTimeout: 300_000,
					hookTimeout: 1_800_000,
					sequence: { groupOrder: 3 },
				},
			},
			{
				test: {
					name: "faults",
					include: ["test/faults/**/*.test.ts"],
					exclude: ENGINE,
					globalSetup: ["test/support/global-stack.ts"],
					fileParallelism: false,
					testTimeout: 1_800_000,
					hookTimeout: 1_800_000,
					sequence: { groupOrder: 2 },
				},
			},
			{
				test: {
					name: "engine",
					include: ENGINE,
					fileParallelism: false,
					testTimeout: 1_800_000,
					hookTimeout: 1_800_000,
					sequence: { groupOrder: 4 },
				},
			},
		],
	},
});
