import { defineConfig } from "vitest/config";

/**
 * `unit` starts what it needs by itself: a Postgres, a Chromium, a MinIO. `e2e` brings up a stack of its own (engine, Postgres, MinIO, MLflow, door)
 * and shares it: its files run one after the other. `faults` (`npm run test:faults`) breaks such a stack in every way
 * while people work on it, and takes half an hour.
 */
export default defineConfig({
	test: {
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
					include: ["test/e2e/**/*.test.ts", "test/funnel/**/*.test.ts"],
					globalSetup: ["test/support/global-stack.ts"],
					fileParallelism: false,
					testTimeout: 300_000,
					hookTimeout: 1_800_000,
					sequence: { groupOrder: 1 },
				},
			},
			{
				test: {
					name: "faults",
					include: ["test/faults/**/*.test.ts"],
					globalSetup: ["test/support/global-stack.ts"],
					fileParallelism: false,
					testTimeout: 1_800_000,
					hookTimeout: 1_800_000,
					sequence: { groupOrder: 2 },
				},
			},
		],
	},
});
