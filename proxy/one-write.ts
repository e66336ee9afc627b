/**
 * Small bodies to clients. Node sends text together with the headers, in one write, and bytes in a second piece of
 * it, which costs a third more CPU for a whole small request. So what is small goes as text: Latin-1 has a character
 * for each byte, and they leave as the same bytes.
 */
import type { ServerResponse } from "node:http";

/** Bytes. Beyond it copying costs more than it saves. */
const SMALL = 8 * 1024;

/** `res.write` of bytes. */
export const writeBytes = (res: ServerResponse, bytes: Buffer): boolean =>
	bytes.length <= SMALL ? res.write(bytes.toString("latin1"), "latin1") : res.write(bytes);

/** `res.end` with bytes. */
export function endWith(res: ServerResponse, bytes: Buffer): void {
	if (bytes.length <= SMALL) res.end(bytes.toString("latin1"), "latin1");
	else res.end(bytes);
}
