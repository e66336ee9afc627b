/**
 * The control commands of holds.
 *
 * | command | body | answer |
 * |---|---|---|
 * | `hold` | `{part, drainSeconds?}` | `{part, drained, running, waitedMs}`, once drained or past the bound |
 * | `release` | `{part}` | `{part, healthy, heldMs, held, longestMs, refused}`, once the part answers or past the limit |
 * | `holds` | | `{holds: [{part, since, waiting, reason}]}` |
 */
import { z } from "zod";
import { type Commands, command } from "../control/server.ts";
import type { Holds } from "./holds.ts";
import { HELD_PARTS } from "./parts.ts";

const part = z.enum(HELD_PARTS);

export const holdCommands = (holds: Holds): Commands => ({
	hold: command(
		z.strictObject({ part, drainSeconds: z.number().min(0).max(600).default(30) }),
		async ({ part, drainSeconds }) => await holds.hold(part, drainSeconds * 1000),
	),
	release: command(z.strictObject({ part }), async ({ part }) => await holds.release(part)),
	holds: command(z.strictObject({}), async () => ({ holds: holds.list() })),
});
