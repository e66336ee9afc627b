/** Holds requests for parts that are away, before anything of them is read or done. */
import { refuse } from "../answer.ts";
import type { Answerer } from "../answerer.ts";
import type { Authority } from "../authority.ts";
import { onceClosed } from "../closed.ts";
import type { DoorErrorCode } from "../errors.ts";
import type { Holds, Waited } from "./holds.ts";
import { needsOf } from "./parts.ts";

/** What the client is told that was not let through. */
export const REFUSALS: Readonly<Record<Exclude<Waited, "there" | "gone">, DoorErrorCode>> = {
	full: "HOLD_FULL",
	late: "HOLD_LATE",
};

/** Comes before all other answerers: whoever is let through counts as running until the response has closed. */
export const holding =
	(holds: Holds, stillValid: Authority["stillValid"]): Answerer =>
	(allowed) => {
		const { route, req, res, identity, patience, refused } = allowed;
		const parts = needsOf(route);
		const begin = () => {
			onceClosed(res, holds.run(parts));
			return false;
		};
		if (!parts.some((part) => holds.isHeld(part))) return begin();
		return holds.wait(parts, patience).then((outcome) => {
			if (outcome === "there" && stillValid(identity)) return begin();
			if (outcome === "gone") return true;
			// Whoever was let in may have been shut out while waiting.
			const code = outcome === "there" ? "CREDENTIAL_ENDED" : REFUSALS[outcome];
			refused(code);
			refuse(req, res, code);
			return true;
		});
	};
