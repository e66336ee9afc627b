/** Where a checkout keeps what is made at run time. Everything under `.mlgate` is ignored by git. */
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** The checkout this program lies in. */
export const CHECKOUT = fileURLToPath(new URL("../..", import.meta.url)).replace(/\/$/, "");

export const logFolder = (checkout: string) => join(checkout, ".mlgate", "logs");
export const lockFolder = (checkout: string) => join(checkout, ".mlgate", "locks");
export const journalFolder = (checkout: string) => join(checkout, ".mlgate", "journal");
/** What was put into the tailnet's policy for a stack. */
export const tailnetRecord = (checkout: string, stack: string) =>
	join(checkout, ".mlgate", "tailnet", `${stack}.json`);
