/** One row of the results: two figures measured in turn, what they make together, and what is wanted of it. */

export interface Row {
	what: string;
	/** With its unit. */
	door: string;
	/** The other side and its figure. */
	against: string;
	/** What the two make: a ratio, or a difference. */
	result: string;
	/** Empty: it is told and nothing is asked of it. */
	wanted: string;
	met: boolean | undefined;
}

type Unit = "ms" | "µs" | "s" | "MB/s" | "MiB" | "KB" | "s/GB" | "computations" | "";

/** Three digits that count. */
export const figure = (value: number, unit: Unit = ""): string => {
	const text = Number.isFinite(value)
		? Math.abs(value) >= 100
			? String(Math.round(value))
			: String(Number(value.toPrecision(3)))
		: "none";
	return unit === "" ? text : `${text} ${unit}`;
};

interface Side {
	name: string;
	value: number;
}

/** The one figure divided by the other. */
export function ratio(
	what: string,
	unit: Unit,
	door: number,
	other: Side,
	wanted: { atMost?: number; atLeast?: number } = {},
): Row {
	const value = door / other.value;
	return {
		what,
		door: figure(door, unit),
		against: `${other.name} ${figure(other.value, unit)}`,
		result: `x ${figure(value)}`,
		...verdict(value, wanted, (bound) => figure(bound)),
	};
}

/** How far the one is above the other. */
export function difference(
	what: string,
	unit: Unit,
	door: number,
	other: Side,
	wanted: { atMost?: number; atLeast?: number } = {},
): Row {
	const value = door - other.value;
	return {
		what,
		door: figure(door, unit),
		against: `${other.name} ${figure(other.value, unit)}`,
		result: `${value < 0 ? "" : "+"}${figure(value, unit)}`,
		...verdict(value, wanted, (bound) => figure(bound, unit)),
	};
}

/** A figure that is compared with nothing but what is wanted. */
export function alone(
	what: string,
	unit: Unit,
	door: number,
	wanted: { atMost?: number; atLeast?: number } = {},
	other?: Side,
): Row {
	return {
		what,
		door: figure(door, unit),
		against: other === undefined ? "" : `${other.name} ${figure(other.value, unit)}`,
		result: figure(door, unit),
		...verdict(door, wanted, (bound) => figure(bound, unit)),
	};
}

function verdict(
	value: number,
	{ atMost, atLeast }: { atMost?: number; atLeast?: number },
	tell: (bound: number) => string,
): Pick<Row, "wanted" | "met"> {
	if (atMost !== undefined) return { wanted: `at most ${tell(atMost)}`, met: value <= atMost };
	if (atLeast !== undefined) return { wanted: `at least ${tell(atLeast)}`, met: value >= atLeast };
	return { wanted: "", met: undefined };
}
