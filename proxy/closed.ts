/**
 * What is to be done once a response has closed, by all who care. They are told by one listener: each of its own
 * costs a small request as much as looking up who asks.
 */
import type { ServerResponse } from "node:http";

const THEN = Symbol("once it has closed");

interface Response extends ServerResponse {
	[THEN]?: (() => void)[];
}

function tell(this: Response): void {
	for (const then of this[THEN] ?? []) then();
}

/**
 * As `res.once("close", then)`: in the order in which they were said, and never if it has closed before.
 * @param then must not throw
 */
export function onceClosed(res: ServerResponse, then: () => void): void {
	const response: Response = res;
	if (response[THEN] === undefined) {
		response[THEN] = [then];
		response.once("close", tell);
	} else response[THEN].push(then);
}
