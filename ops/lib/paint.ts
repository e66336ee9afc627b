/** Colours for people at a terminal, and for nobody else: https://no-color.org */
import { stripVTControlCharacters, styleText } from "node:util";

export type Paint = (style: Style, text: string) => string;
export type Style = "good" | "bad" | "warn" | "dim" | "bold" | "blue" | "cyan" | "magenta";

const STYLES = {
	good: "green",
	bad: "red",
	warn: "yellow",
	dim: "dim",
	bold: "bold",
	blue: "blue",
	cyan: "cyan",
	magenta: "magenta",
} as const;

const plain: Paint = (_style, text) => text;

/** @param env `NO_COLOR`, set to anything but nothing, turns colours off; so does a dumb terminal. */
export function painter(
	stream: Pick<NodeJS.WriteStream, "isTTY"> = process.stdout,
	env: NodeJS.ProcessEnv = process.env,
): Paint {
	if (!stream.isTTY || env.NO_COLOR || env.TERM === "dumb") return plain;
	// Whether to colour is decided here, and not by what Node thinks of standard output.
	return (style, text) => (text === "" ? "" : styleText(STYLES[style], text, { validateStream: false }));
}

/** How wide a text is on the terminal. */
export const width = (text: string): number => stripVTControlCharacters(text).length;
