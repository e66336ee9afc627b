/**
 * The one module that knows `http-proxy` (its maintained successor http-proxy-3, under the same name).
 *
 * Measured on it: it sends another path than it was given (`/a/../b`), passes every header on, takes the length
 * off chunked DELETE and OPTIONS requests while it still sends their bodies, and does not tell `proxyReq` of
 * requests with `Expect`. So it never sees a client's request, only one that is made here: the canonical path,
 * the allowed headers, a body that the gate has measured, and a connection that is already open and used once.
 * What comes back goes through `heard`, not through the library's own copying.
 */
import { createHash } from "node:crypto";
import { Agent, type ClientRequest, type IncomingMessage, type ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { type Duplex, Readable } from "node:stream";
import { createProxyServer } from "http-proxy";
import { switchingHeaders } from "./headers.ts";

/** What the API is to be asked. */
export interface Asked {
	method: string;
	/** Canonical, with its query. */
	path: string;
	headers: Record<string, string>;
	body?: Readable | undefined;
}

/** What comes of it. `failed` may come after anything else, and more than once. */
export interface Heard {
	/** The answer has begun. Nobody reads it yet. */
	answered(answer: IncomingMessage): void;
	failed(error: Error): void;
	/** The connection has been switched, and bytes go both ways. */
	switched?(): void;
}

/** Hands out the one connection that it was made with, and asks the other side to close it after its answer. */
class Given extends Agent {
	readonly #socket: Socket;
	constructor(socket: Socket) {
		super({ keepAlive: false });
		this.#socket = socket;
	}
	override createConnection(): Socket {
		return this.#socket;
	}
}

const proxy = createProxyServer({
	selfHandleResponse: true,
	// The path goes out as it is, and nothing is put before it.
	toProxy: true,
	prependPath: false,
});
const heardBy = new WeakMap<object, Heard>();

proxy.on("proxyRes", (answer, shown) => heardBy.get(shown)?.answered(answer));
// Whoever listens on a socket of ours hears the same.
proxy.on("error", () => {});
proxy.on("proxyReqWs", (request, shown) => {
	const heard = heardBy.get(shown);
	if (heard !== undefined) guardSwitch(request, String(shown.headers["sec-websocket-key"]), heard);
});

/** A request as the library wants one. None of it is the client's. */
function show({ method, path, headers, body }: Asked, socket: Duplex): IncomingMessage {
	const stream = body ?? Readable.from([]);
	const request = { method, url: path, headers, httpVersion: "1.1", httpVersionMajor: 1, socket };
	return Object.assign(stream, request) as unknown as IncomingMessage;
}

/** @param api its origin */
export function ask(
	asked: Asked,
	req: IncomingMessage,
	res: ServerResponse,
	way: { api: string; socket: Socket },
	heard: Heard,
): void {
	const shown = show(asked, req.socket);
	heardBy.set(shown, heard);
	proxy.web(shown, res, { target: way.api, agent: new Given(way.socket) }, (error) => heard.failed(error));
}

/** @param head what the client has sent after its headers */
export function askToSwitch(
	asked: Asked,
	client: Duplex,
	head: Buffer,
	way: { api: string; socket: Socket },
	heard: Heard,
): void {
	const shown = show(asked, client);
	heardBy.set(shown, heard);
	proxy.ws(shown, client, head, { target: way.api, agent: new Given(way.socket) }, (error) =>
		heard.failed(error),
	);
}

/** RFC 6455, 1.3. */
const acceptOf = (key: string): string =>
	createHash("sha1").update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");

/**
 * The library would copy all headers of the answer to the client, cookies too, and relays an answer that does
 * not switch without back-pressure. Its listeners come after this one, in the same turn.
 */
function guardSwitch(request: ClientRequest, key: string, heard: Heard): void {
	queueMicrotask(() => {
		const [switchOver] = request.listeners("upgrade");
		request.removeAllListeners("upgrade").removeAllListeners("response");
		request.once("response", (answer) => heard.answered(answer));
		request.once("upgrade", (answer: IncomingMessage, socket: Socket, head: Buffer) => {
			const { upgrade, "sec-websocket-accept": accept } = answer.headers;
			if (upgrade?.toLowerCase() !== "websocket" || accept !== acceptOf(key)) {
				socket.destroy();
				heard.failed(new Error("the inference API switched to something else than WebSocket"));
				return;
			}
			answer.headers = switchingHeaders(answer.headers);
			switchOver?.call(request, answer, socket, head);
			heard.switched?.();
		});
	});
}
