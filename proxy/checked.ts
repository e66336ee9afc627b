import type { Check } from "./authority.ts";

/** Does something that proves a part works, and tells how it went. Never rejects. */
export async function checked(name: string, work: () => Promise<void>): Promise<Check> {
	const began = performance.now();
	const took = () => Math.round(performance.now() - began);
	try {
		await work();
		return { name, ok: true, ms: took() };
	} catch (error) {
		return { name, ok: false, ms: took(), detail: error instanceof Error ? error.message : String(error) };
	}
}
