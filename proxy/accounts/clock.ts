/**
 * The door's time. It never runs backwards: what has expired stays expired, whatever is done to the machine's
 * clock. When that is set back, time goes on from where it was; when it is set forward, the door follows, and
 * sessions and tokens end early rather than late. A restart takes the machine's time as it is.
 */
import type { Log } from "./log.ts";

/** Milliseconds; less is what time servers do every day. */
const JUMP = 60_000;

/** @param wall,elapsed for tests; milliseconds. @returns milliseconds since 1970 */
export function steadyClock(
	log: Log,
	wall: () => number = Date.now,
	elapsed: () => number = () => performance.now(),
): () => number {
	let at = wall();
	let since = elapsed();
	let isBehind = false;
	return () => {
		const passed = elapsed();
		const steady = at + (passed - since);
		const now = wall();
		if (now >= steady) {
			if (now - steady > JUMP)
				log.warn(
					{ seconds: Math.round((now - steady) / 1000) },
					"the machine's clock was set forward: what has reached its end by that time has ended",
				);
			at = now;
			since = passed;
			isBehind = false;
			return now;
		}
		if (steady - now > JUMP && !isBehind) {
			isBehind = true;
			log.warn(
				{ seconds: Math.round((steady - now) / 1000) },
				"the machine's clock was set back: the door goes on from the time before until it is restarted",
			);
		}
		return Math.floor(steady);
	};
}
