/** All routes that need a credential, as one map: MLflow's, and the way to the inference API. */
import type { Tail, Target } from "../gate/target.ts";
import { INFERENCE_TAIL, inferenceRoute } from "../inference/route.ts";
import { match, type Route, TAILS } from "./match.ts";

export const EVERY_TAIL: readonly Tail[] = [...TAILS, INFERENCE_TAIL];

/** @param target as the gate let it through with `EVERY_TAIL` */
export const routeOf = (method: string, target: Pick<Target, "path" | "prefix">): Route | undefined =>
	match(method, target) ?? inferenceRoute(method, target);
