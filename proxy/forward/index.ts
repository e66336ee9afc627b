/** Answers from MLflow: everything that nobody else at the door has taken. */
import { refuse } from "../answer.ts";
import type { Answerer } from "../answerer.ts";
import { refusedBody } from "../routes/bodies.ts";
import type { Transfers } from "./transfers.ts";

export const forwardTo =
	(transfers: Transfers): Answerer =>
	({ req, res, target, identity, route, refused, body, failed }) => {
		if (route.answer !== undefined) {
			refused(route.answer);
			refuse(req, res, route.answer);
			return true;
		}
		const rule = identity.role === "admin" ? undefined : route.body;
		const judge = rule && ((body: Buffer) => refusedBody(rule, body));
		transfers.forward(req, res, { path: target.forward, identity, judge }, { refused, body, failed });
		return true;
	};
