/** HTML as tagged templates: what is put in is escaped, unless it is HTML made here. */

export class Html {
	readonly text: string;
	constructor(text: string) {
		this.text = text;
	}
	toString(): string {
		return this.text;
	}
}

const ESCAPES: Record<string, string> = {
	"&": "&amp;",
	"<": "&lt;",
	">": "&gt;",
	'"': "&quot;",
	"'": "&#39;",
};

type Part = Html | string | number | undefined | false | readonly Part[];

function render(part: Part): string {
	if (part === undefined || part === false) return "";
	if (part instanceof Html) return part.text;
	if (Array.isArray(part)) return part.map(render).join("");
	return String(part).replace(/[&<>"']/g, (character) => ESCAPES[character] as string);
}

/** Attribute values must stand in quotes. `undefined` and `false` put in nothing. */
export function html(texts: TemplateStringsArray, ...parts: Part[]): Html {
	return new Html(texts.reduce((all, text, index) => all + render(parts[index - 1]) + text));
}
