/** Downloads and uploads by a client that costs next to nothing. */
import aws4 from "aws4";
import { run } from "../../support/mlgate.ts";
import { farAway, LINE } from "./ground.ts";
import type { Site } from "./site.ts";
import { AT } from "./site.ts";

export interface Moved {
	status: number;
	/** Milliseconds to the first byte of the answer. */
	first: number;
	seconds: number;
	bytes: number;
}

/** Where a client stands: beside the server, or at the far end of the line of 1 Gbit/s. */
export type Place = "here" | "far";

const HOST: Record<Place, string> = { here: "127.0.0.1", far: LINE.near };

export interface Ask {
	url: string;
	headers?: Readonly<Record<string, string>>;
	/** A file to be put there. */
	upload?: string;
	/** `first-last`, or `-length` from the end. */
	range?: string;
	place?: Place;
}

const quote = (text: string): string => `"${text.replace(/[\\"]/g, "\\$&")}"`;

/** curl's own words, on standard input. */
function config({ url, headers = {}, upload, range }: Ask, output: string): string {
	const lines = [
		["url", url],
		["output", output],
		...Object.entries(headers).map(([name, value]) => ["header", `${name}: ${value}`]),
		// What a server keeps waiting for is not the point.
		["header", "Expect:"],
		...(upload === undefined ? [] : [["upload-file", upload]]),
		...(range === undefined ? [] : [["range", range]]),
	];
	return lines.map(([name, value = ""]) => `${name} = ${quote(value)}\n`).join("");
}

const through = (command: string[], place: Place = "here") => (place === "here" ? command : farAway(command));

export async function move(ask: Ask): Promise<Moved> {
	const [program = "", ...args] = through(
		["curl", "--silent", "--show-error", "--write-out", "%{json}", "--config", "-"],
		ask.place,
	);
	const ended = await run(program, args, { input: config(ask, "/dev/null") });
	if (ended.code !== 0) throw new Error(`${ask.url}: ${ended.stderr}`);
	const said = JSON.parse(ended.stdout);
	return {
		status: said.http_code,
		first: said.time_starttransfer * 1000,
		seconds: said.time_total,
		bytes: ask.upload === undefined ? said.size_download : said.size_upload,
	};
}

/** @throws unless all of it came, or went */
export async function moveAll(ask: Ask, bytes: number): Promise<Moved> {
	const moved = await move(ask);
	if (moved.bytes !== bytes || moved.status >= 300) {
		throw new Error(`${ask.url}: ${moved.bytes} of ${bytes} bytes, status ${moved.status}`);
	}
	return moved;
}

/** The SHA-256 of what comes. */
export async function sum(ask: Ask): Promise<string> {
	const ended = await run("sh", ["-c", "curl --silent --show-error --fail --config - | sha256sum"], {
		input: config(ask, "-"),
	});
	if (ended.code !== 0 || ended.stderr !== "") throw new Error(`${ask.url}: ${ended.stderr}`);
	return ended.stdout.slice(0, 64);
}

/** Arguments of a curl that fetches the same again and again, no faster than that. */
export const slowly = (ask: Ask, rate: string, times: number): { command: string[]; input: string } => ({
	command: ["curl", "--silent", "--limit-rate", rate, "--config", "-"],
	input: Array.from({ length: times }, () => config(ask, "/dev/null")).join("next\n"),
});

/** A request to MinIO itself, as its users sign them. */
export function signed(
	{ minio }: Pick<Site, "minio">,
	method: "GET" | "PUT" | "DELETE",
	key: string,
	place: Place = "here",
): Required<Pick<Ask, "url" | "headers" | "place">> {
	const host = `${HOST[place]}:${AT.minio}`;
	const path = `/${minio.bucket}/${key}`;
	const { headers } = aws4.sign(
		{
			service: "s3",
			region: "us-east-1",
			method,
			host,
			path,
			headers: { "X-Amz-Content-Sha256": "UNSIGNED-PAYLOAD" },
		},
		{ accessKeyId: minio.user, secretAccessKey: minio.secret },
	);
	return { url: `http://${host}${path}`, headers: headers as Record<string, string>, place };
}

export const at = (port: number, path: string, place: Place = "here"): string =>
	`http://${HOST[place]}:${port}${path}`;
export const bearer = (token: string) => ({ Authorization: `Bearer ${token}` });
