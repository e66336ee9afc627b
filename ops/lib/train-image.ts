/** The image of the example's training job, built when its content has no image yet. */
import { createHash } from "node:crypto";
import { copyFileSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { imageRef } from "../../infra/images.ts";
import { ensureBaseImage, imageExists } from "./base-image.ts";
import { buildFailed, PASSED_ON, withStaging } from "./build-images.ts";
import { engineBuilder } from "./builder.ts";
import type { Context } from "./command.ts";
import { exec } from "./exec.ts";
import { hostCa } from "./host-ca.ts";

const FOLDER = ["examples", "ingredient-embeddings"] as const;
/** What the job calls the corpus. */
const RECIPES = "recipes.json";

/** Path in the build context -> path on the host. */
function inputs(checkout: string): Map<string, string> {
	const folder = join(checkout, ...FOLDER);
	const files = readdirSync(folder, { withFileTypes: true }).filter((entry) => entry.isFile());
	const corpus = join(
		dirname(createRequire(import.meta.url).resolve("howtocook-mcp/package.json")),
		"all_recipes.json",
	);
	return new Map([
		...files.map(({ name }): [string, string] => [name, join(folder, name)]),
		[RECIPES, corpus],
	]);
}

/** @returns `mlgate-train:<12 hex>`, the same for the same content on the same MLflow. */
function refOf(files: ReadonlyMap<string, string>, mlflow: string): string {
	const hash = createHash("sha256").update(mlflow);
	for (const [to, from] of [...files].sort(([a], [b]) => a.localeCompare(b))) {
		const content = readFileSync(from);
		hash.update(`\0${JSON.stringify([to, content.length])}\0`).update(content);
	}
	return `mlgate-train:${hash.digest("hex").slice(0, 12)}`;
}

/** @throws OpsError IMAGE_BUILD_FAILED, and those of `ensureBaseImage` */
export async function ensureTrainImage(context: Context): Promise<string> {
	const { checkout, report } = context;
	const files = inputs(checkout);
	const mlflow = imageRef("mlflow");
	const ref = refOf(files, mlflow);
	if (await imageExists(ref)) return ref;
	const base = await ensureBaseImage(report, context);
	const builder = await engineBuilder();
	await report.step("Building the image of the training job", ({ detail }) =>
		withStaging(async (folder) => {
			for (const [to, from] of files) copyFileSync(from, join(folder, to));
			writeFileSync(join(folder, "build-ca.crt"), hostCa());
			const values = [
				`BASE=${base}`,
				`MLFLOW_IMAGE=${mlflow}`,
				...PASSED_ON.filter((name) => process.env[name]),
			];
			const args = values.flatMap((value) => ["--build-arg", value]);
			const { code, stdout, stderr } = await exec(
				["docker", "build", ...builder.args, "--tag", ref, ...args, folder],
				{
					env: { ...process.env, ...builder.env },
					signal: context.interrupted,
					onLine: detail,
				},
			);
			context.interrupted.throwIfAborted();
			if (code !== 0) throw buildFailed("train", `${stdout}\n${stderr}`);
		}),
	);
	return ref;
}
