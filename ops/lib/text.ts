/** Small pieces of text that several commands print. */
import { width } from "./paint.ts";

/** Columns padded to their widest cell, two spaces between them. Cells may be coloured. */
export function table(rows: readonly (readonly string[])[]): string {
	const widths: number[] = [];
	for (const row of rows) {
		for (const [i, cell] of row.entries()) widths[i] = Math.max(widths[i] ?? 0, width(cell));
	}
	return rows
		.map((row) =>
			row
				.map((cell, i) => cell + " ".repeat((widths[i] ?? 0) - width(cell)))
				.join("  ")
				.trimEnd(),
		)
		.join("\n");
}

/** `40 ms`, `1 s`, `1.4 s`, `12 s`, `3 min 05 s`. */
export function duration(ms: number): string {
	if (ms < 950) return `${Math.round(ms)} ms`;
	if (ms < 9_950) return `${Number((ms / 1000).toFixed(1))} s`;
	const seconds = Math.round(ms / 1000);
	if (seconds < 60) return `${seconds} s`;
	return `${Math.floor(seconds / 60)} min ${String(seconds % 60).padStart(2, "0")} s`;
}

const UNITS = [
	["d", 86_400],
	["h", 3_600],
	["min", 60],
	["s", 1],
] as const;

/** How long ago, in the largest unit that fits: `3 h`. Empty for times that are none. */
export function age(since: string | undefined, now: number = Date.now()): string {
	const ms = since ? now - Date.parse(since) : Number.NaN;
	if (Number.isNaN(ms)) return "";
	const seconds = Math.max(0, Math.round(ms / 1000));
	const [unit, size] = UNITS.find(([, size]) => seconds >= size) ?? ["s", 1];
	return `${Math.floor(seconds / size)} ${unit}`;
}

/** For tables: `3 h ago`, or `never`. */
export const ago = (since: string | null | undefined) => (since ? `${age(since)} ago` : "never");

/** `a`, `a and b`, `a, b and c`. */
export function list(words: readonly string[]): string {
	if (words.length < 2) return words.join("");
	return `${words.slice(0, -1).join(", ")} and ${words.at(-1)}`;
}

/** The first line that says something. */
export function firstLine(text: string): string {
	return (
		text
			.split("\n")
			.map((line) => line.trim())
			.find(Boolean) ?? ""
	);
}

/** Advice that works for this stack: texts are written for the stack `local`. */
export function forStack(text: string, stack: string): string {
	if (stack === "local" || text.includes("--stack")) return text;
	return text
		.replace(/\bnpm start\b/g, "npx mlgate up")
		.replace(/\bnpx mlgate (?!--)/g, `npx mlgate --stack ${stack} `);
}

const SIZES = ["B", "KiB", "MiB", "GiB", "TiB"] as const;

/** `0 B`, `512 B`, `1.4 KiB`, `12 MiB`. */
export function bytesInWords(bytes: number): string {
	let value = bytes;
	let unit = 0;
	while (value >= 999.5 && unit < SIZES.length - 1) {
		value /= 1024;
		unit += 1;
	}
	return `${unit > 0 && value < 9.95 ? value.toFixed(1) : Math.round(value)} ${SIZES[unit]}`;
}
