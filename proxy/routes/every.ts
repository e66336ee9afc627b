/**
 * All routes that need a credential and are answered behind the pipeline, as one map: MLflow's, the way to the inference
 * API, and the door's question for many runs.
 */
import type { Tail, Target } from "../gate/target.ts";
import { INFERENCE_TAIL, inferenceRoute } from "../inference/route.ts";
import { runsRoute } from "../runs/route.ts";
import { match, type Route, TAILS } from "./match.ts";

export const EVERY_TAIL: readonly Tail[] = [...TAILS, INFERENCE_TAIL];

/** @param target as the gate let it through with `EVERY_TAIL` */
export const routeOf = (method: string, target: Pick<Target, "path" | "prefix">): Route | undefined =>
	match(method, target) ?? inferenceRoute(method, target) ?? runsRoute(method, target);
