/** Answers from MLflow: everything that nobody else at the door has taken. */
import { refuse } from "../answer.ts";
import type { Allowed, Answerer } from "../answerer.ts";
import { repeatOf } from "../hold/repeats.ts";
import type { Held } from "../hold/upstream.ts";
import { refusedBody } from "../routes/bodies.ts";
import { safetyOf } from "../safety.ts";
import type { Order } from "./transfer.ts";
import type { Transfers } from "./transfers.ts";

/** What is to be sent to MLflow for a request, by whichever way. */
export function orderOf({ identity, route, target, patience }: Allowed): Order {
	const rule = identity.role === "admin" && route.body?.sparesAdmin ? undefined : route.body;
	const judge = rule && ((body: Buffer) => refusedBody(rule, body));
	const repeat = repeatOf(route);
	const held: Held = { patience, repeat: repeat === "safe" || repeat === "gone" ? repeat : "once" };
	return { path: target.forward, identity, judge, safety: safetyOf(route, target.path), held };
}

export const forwardTo =
	(transfers: Transfers): Answerer =>
	(allowed) => {
		const { req, res, route, refused } = allowed;
		if (route.answer === undefined) {
			transfers.forward(req, res, orderOf(allowed), allowed);
			return true;
		}
		refused(route.answer);
		refuse(req, res, route.answer);
		return true;
	};
