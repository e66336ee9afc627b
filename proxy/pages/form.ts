/** Form bodies: small, of one type, each field once. */
import type { IncomingMessage } from "node:http";

const MOST_BYTES = 16_384;
const LONGEST_WAIT = 10_000;

export type FormRefusal = "type" | "size" | "slow" | "broken";

/** The fields, or why the body is none. A client that leaves is `broken`. */
export async function readForm(req: IncomingMessage): Promise<Map<string, string> | FormRefusal> {
	const [type = ""] = (req.headers["content-type"] ?? "").split(";");
	if (type.trim().toLowerCase() !== "application/x-www-form-urlencoded") return "type";
	if (Number(req.headers["content-length"] ?? 0) > MOST_BYTES) return "size";
	const body = await readBody(req);
	return typeof body === "string" ? body : parse(body);
}

async function readBody(req: IncomingMessage): Promise<Buffer | FormRefusal> {
	return await new Promise((resolve) => {
		const chunks: Buffer[] = [];
		let bytes = 0;
		const end = (result: Buffer | FormRefusal) => {
			clearTimeout(timer);
			req.off("data", take).off("end", finish).off("close", leave);
			req.pause();
			resolve(result);
		};
		const take = (chunk: Buffer) => {
			chunks.push(chunk);
			bytes += chunk.length;
			if (bytes > MOST_BYTES) end("size");
		};
		const finish = () => end(Buffer.concat(chunks));
		const leave = () => end("broken");
		const timer = setTimeout(() => end("slow"), LONGEST_WAIT);
		// Without a listener an aborted body's error would end the process. It stays on: `close` tells us enough.
		req.on("error", () => {});
		if (req.destroyed) return leave();
		req.on("data", take).on("end", finish).on("close", leave);
	});
}

function parse(body: Buffer): Map<string, string> | FormRefusal {
	try {
		const fields = new Map<string, string>();
		const text = new TextDecoder("utf-8", { fatal: true }).decode(body);
		for (const pair of text.split("&").filter((pair) => pair !== "")) {
			const [name = "", value = "", ...more] = pair
				.split("=")
				.map((part) => decodeURIComponent(part.replaceAll("+", " ")));
			if (more.length > 0 || fields.has(name)) return "broken";
			fields.set(name, value);
		}
		return fields;
	} catch {
		return "broken";
	}
}
