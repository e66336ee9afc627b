/** The way from a command to an open stack: engine, tools, images, Pulumi. What is there already is only looked at. */
import { IMAGES, type Image } from "../../infra/contract.ts";
import { imageExists } from "./base-image.ts";
import { ensureImages } from "./build-images.ts";
import type { Context } from "./command.ts";
import { ensureEngine } from "./engine.ts";
import { OpsError } from "./errors.ts";
import { exec, lastLine } from "./exec.ts";
import { ensurePulumi } from "./pulumi-tools.ts";
import { plainConfig, readSettings, type StackRef } from "./stack/config-file.ts";
import type { StackHandle } from "./stack.ts";

/** An engine that answers. Everything that talks to Docker from here on talks to this one. */
export async function prepareEngine(context: Context): Promise<void> {
	const { endpoint } = await ensureEngine(context.report, context);
	// The provider knows nothing of the docker command's contexts.
	process.env.DOCKER_HOST ??= endpoint;
}

/** The images that are mlgate's own and that the settings use. */
export function ownImages(ref: StackRef): readonly Image[] {
	const { "api.image": own, funnel } = plainConfig(ref);
	const spared: Partial<Record<Image, boolean>> = { api: Boolean(own), tailscale: funnel !== "on" };
	return IMAGES.filter((image) => !spared[image]);
}

/** All of them, built if they are not there. */
export async function prepareImages(context: Context): Promise<void> {
	await ensureImages(context.report, ownImages(context), context);
}

/** The user's own image, if the settings name one; one that is on the host is taken as it is, as Docker does. */
export async function prepareApiImage(context: Context): Promise<void> {
	const image = readSettings(context)["api.image"];
	if (!image || (await imageExists(image))) return;
	const { code, stderr } = await context.report.step(`Pulling ${image}`, ({ detail }) =>
		exec(["docker", "pull", image], { onLine: detail }),
	);
	if (code === 0) return;
	throw new OpsError({
		code: "API_IMAGE_MISSING",
		kind: "precondition",
		what: `The image ${image} (setting api.image) is not on this host and cannot be pulled.`,
		why: lastLine(stderr),
		fix: `Build it here under that name, log in to its registry (docker login), or go back to the reference API: npx mlgate config set api.image ''`,
	});
}

/** The stack, open. Needs the engine. */
export async function openWorkspace(context: Context): Promise<StackHandle> {
	const { report, stack, checkout, interrupted } = context;
	const tools = await ensurePulumi(report, context);
	interrupted.throwIfAborted();
	// Loading Pulumi takes a second, which commands that do without it shall not wait for.
	const { openStack } = await import("./stack.ts");
	return openStack({ stack, checkout, report, tools, signal: interrupted });
}
