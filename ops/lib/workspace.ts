/** The way from a command to an open stack: engine, tools, images, Pulumi. What is there already is only looked at. */
import { IMAGES } from "../../infra/contract.ts";
import { ensureImages } from "./build-images.ts";
import type { Context } from "./command.ts";
import { ensureEngine } from "./engine.ts";
import { ensurePulumi } from "./pulumi-tools.ts";
import type { StackHandle } from "./stack.ts";

/** An engine that answers. Everything that talks to Docker from here on talks to this one. */
export async function prepareEngine(context: Context): Promise<void> {
	const { endpoint } = await ensureEngine(context.report, context);
	// The provider knows nothing of the docker command's contexts.
	process.env.DOCKER_HOST ??= endpoint;
}

/** All images of the stack, built if they are not there. */
export const prepareImages = (context: Context) => ensureImages(context.report, IMAGES, context);

/** The stack, open. Needs the engine. */
export async function openWorkspace(context: Context): Promise<StackHandle> {
	const { report, stack, checkout, interrupted } = context;
	const tools = await ensurePulumi(report, context);
	interrupted.throwIfAborted();
	// Loading Pulumi takes a second, which commands that do without it shall not wait for.
	const { openStack } = await import("./stack.ts");
	return openStack({ stack, checkout, report, tools, signal: interrupted });
}
