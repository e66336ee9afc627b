import { defineConfig } from "vitest/config";

/**
 * `unit` starts what it needs by itself: a Postgres, a Chromium, a MinIO. `e2e` brings up a stack of its own (engine, Postgres, MinIO, MLflow, door)
 * and shares it: its files run one after the other.
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
		],
	},
});
