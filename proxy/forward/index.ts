/** Answers from MLflow: everything that nobody else at the door has taken. */
import { refuse } from "../answer.ts";
import type { Answerer } from "../answerer.ts";
import { refusedBody } from "../routes/bodies.ts";
import { safetyOf } from "../safety.ts";
import type { Transfers } from "./transfers.ts";

export const forwardTo =
	(transfers: Transfers): Answerer =>
	({ req, res, target, identity, route, refused, body, failed }) => {
		if (route.answer !== undefined) {
			refused(route.answer);
			refuse(req, res, route.answer);
			return true;
		}
		const rule = identity.role === "admin" && route.body?.sparesAdmin ? undefined : route.body;
		const judge = rule && ((body: Buffer) => refusedBody(rule, body));
		const safety = safetyOf(route, target.path);
		transfers.forward(req, res, { path: target.forward, identity, judge, safety }, { refused, body, failed });
		return true;
	};
