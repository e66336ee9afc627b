/** Inference services of somebody else's, built from one file each, in the reference API's place. */
import { copyFile, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { imageRef } from "../../infra/images.ts";
import { docker, mustRun, run } from "./mlgate.ts";

const IMAGES = new URL("./images/", import.meta.url);

/** @returns the image's name on the host */
export async function buildImage(kind: "own" | "hostile"): Promise<string> {
	const name = `mlgate-test-${kind}:1`;
	const folder = await mkdtemp(join(tmpdir(), "mlgate-test-image-"));
	await copyFile(new URL("Dockerfile", IMAGES), join(folder, "Dockerfile"));
	await copyFile(new URL(`${kind}/service.py`, IMAGES), join(folder, "service.py"));
	const args = ["build", "--force-rm", "--tag", name, "--build-arg", `FROM=${imageRef("api")}`, folder];
	// The classic builder sees the engine's own images, whatever plugins there are.
	const ended = await run("docker", args, { env: { DOCKER_BUILDKIT: "0" } });
	await rm(folder, { recursive: true });
	if (ended.code !== 0) throw new Error(`${ended.stdout}\n${ended.stderr}`);
	return name;
}

export const removeImage = (name: string): Promise<string> => docker("image", "rm", "--force", name);

/** Sets what is given and brings the stack up with it. */
export async function upWith(settings: Record<string, string>): Promise<void> {
	for (const [key, value] of Object.entries(settings)) await mustRun(["config", "set", key, value]);
	await mustRun(["up", "--yes"]);
}

/** The reference API again. */
export const REFERENCE = { "api.image": "", "api.ready": "", "api.env": "{}" };
