/** The parts that a backup or a restore works with. */
import type { Part } from "../../../infra/contract.ts";
import { type Container, containersOf, partOf } from "../docker.ts";
import { OpsError } from "../errors.ts";

/**
 * The running containers of the stores.
 * @throws OpsError STACK_ABSENT or STORE_DOWN
 */
export async function stores(name: string): Promise<Record<"postgres" | "minio", Container>> {
	const containers = await containersOf(name);
	if (!containers.some((one) => partOf(one) === "postgres")) {
		throw new OpsError({
			code: "STACK_ABSENT",
			kind: "precondition",
			what: `${name} has not been brought up here.`,
			fix: "npm start",
		});
	}
	const running = (part: Part): Container => {
		const container = containers.find((one) => partOf(one) === part);
		const state = container?.State.Status ?? "absent";
		const starting = container?.State.Health?.Status === "starting";
		// An unhealthy one may only be slow; if it does not answer, the work itself says so.
		if (container && state === "running" && !starting) return container;
		throw new OpsError({
			code: "STORE_DOWN",
			kind: "unhealthy",
			what: `${part} is ${starting ? "starting" : state}, and without it nothing can be read or written.`,
			fix: "npm start",
		});
	};
	return { postgres: running("postgres"), minio: running("minio") };
}
