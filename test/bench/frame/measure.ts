/** Measuring in turn, and what is made of the figures. */

/** Everything once, and smaller: to see that the bench itself works: no figures that anybody should believe. */
export const QUICK = process.env.BENCH_QUICK === "1";

export const median = (values: readonly number[]): number => {
	const sorted = [...values].sort((a, b) => a - b);
	const middle = sorted.length >> 1;
	if (sorted.length === 0) return Number.NaN;
	return sorted.length % 2 === 1
		? (sorted[middle] as number)
		: ((sorted[middle - 1] as number) + (sorted[middle] as number)) / 2;
};

/**
 * Runs every side once in each round, so that what the machine does besides falls on all of them. Each round
 * begins with another side: none always follows the same one.
 */
export async function inTurn<Side extends string, T>(
	rounds: number,
	sides: Readonly<Record<Side, () => Promise<T>>>,
): Promise<Record<Side, T[]>> {
	const names = Object.keys(sides) as Side[];
	const results = Object.fromEntries(names.map((name) => [name, []])) as unknown as Record<Side, T[]>;
	for (let round = 0; round < (QUICK ? 1 : rounds); round++) {
		for (let i = 0; i < names.length; i++) {
			const name = names[(round + i) % names.length] as Side;
			results[name].push(await sides[name]());
		}
	}
	return results;
}

/** The median of one field. */
export const mid = <T>(results: readonly T[], field: (result: T) => number): number =>
	median(results.map(field));

/** Says on stderr what is being done. */
export const say = (text: string): void => {
	process.stderr.write(`  ${text}\n`);
};
