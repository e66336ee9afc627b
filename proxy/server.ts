/** The HTTP servers: limits, one request of a connection at a time, and bytes that never become a request. */
import { createServer, type IncomingMessage, type Server, ServerResponse } from "node:http";
import { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { rawRefusal } from "./answer.ts";
import { onceClosed } from "./closed.ts";
import { Connections } from "./connections.ts";
import { BARE } from "./inference/route.ts";
import type { BoundListener } from "./listeners.ts";
import type { Handle } from "./pipeline.ts";

/** Milliseconds and bytes. */
export interface ServerLimits {
	maxHeaderSize: number;
	headersTimeout: number;
	requestTimeout: number;
	keepAliveTimeout: number;
	connectionsCheckingInterval: number;
}

export const LIMITS: ServerLimits = {
	/** A request line of 8 KiB (a chart of 200 runs) and a browser's cookies for `localhost` fit. */
	maxHeaderSize: 32 * 1024,
	/** From the first byte to the end of the headers, and from connecting to the first byte. */
	headersTimeout: 30_000,
	/** Node's default ends an upload that is still moving after five minutes. Idle ones are ended in transfers.ts. */
	requestTimeout: 0,
	/** Longer than the 90 s that Tailscale's proxy keeps connections: the side that sends should close. */
	keepAliveTimeout: 95_000,
	connectionsCheckingInterval: 5_000,
};

/** Requests of one connection that may wait for the one before them. Nobody's client sends two. */
const PIPELINED = 8;

const REFUSAL_OF: Readonly<Record<string, Parameters<typeof rawRefusal>[0]>> = {
	HPE_HEADER_OVERFLOW: "HEADERS_TOO_LARGE",
	ERR_HTTP_REQUEST_TIMEOUT: "REQUEST_TIMEOUT",
};

/** Requests on each socket: an error answer there would land in the middle of another one. */
const queues = new WeakMap<Duplex, { length: number }>();

function queueOn(socket: Duplex): { length: number } {
	const found = queues.get(socket);
	if (found !== undefined) return found;
	const queue = { length: 0 };
	queues.set(socket, queue);
	return queue;
}

function answerRaw(socket: Duplex, code: Parameters<typeof rawRefusal>[0]): void {
	if (socket.writable && queueOn(socket).length === 0) socket.end(rawRefusal(code), () => socket.destroy());
	else socket.destroy();
}

/** Only there does anything upgrade. Elsewhere the header makes no difference to how a request is read. */
const mayUpgrade = ({ url, headers }: IncomingMessage): boolean =>
	url?.startsWith(`${BARE}/`) === true && headers.upgrade?.toLowerCase() === "websocket";

/** A server for one listener. It does not listen yet. */
export function createDoorServer(
	listener: BoundListener,
	handle: Handle,
	connections = new Connections(),
	limits: ServerLimits = LIMITS,
): Server {
	/** Requests are handled one after the other: a response without a socket cannot tell that its client left. */
	const inTurn = (req: IncomingMessage, res: ServerResponse): void => {
		const { socket } = req;
		connections.moved(socket);
		const queue = queueOn(socket);
		if (queue.length > PIPELINED) {
			socket.destroy();
			return;
		}
		queue.length++;
		onceClosed(res, () => queue.length--);
		if (res.socket !== null) handle(req, res, listener);
		else res.once("socket", () => handle(req, res, listener));
	};
	/** The connection is nobody's any more but ours: the answer, if it is one of HTTP, is its last. */
	const onUpgrade = (req: IncomingMessage, socket: Duplex, head: Buffer): void => {
		socket.on("error", () => {});
		// The answer to a request before this one would land in the middle of what the connection is used for.
		if (queueOn(socket).length > 0 || !(socket instanceof Socket)) {
			socket.destroy();
			return;
		}
		const res = new ServerResponse(req);
		res.shouldKeepAlive = false;
		res.assignSocket(socket);
		res.once("finish", () => socket.destroySoon());
		handle(req, res, listener, { socket, head });
	};
	const server = createServer(
		{ ...limits, requireHostHeader: false, insecureHTTPParser: false, shouldUpgradeCallback: mayUpgrade },
		inTurn,
	);
	server.on("upgrade", onUpgrade);
	server.maxHeadersCount = 0;
	server.on("connection", (socket) => connections.opened(socket));
	server.on("checkContinue", inTurn);
	server.on("checkExpectation", inTurn);
	server.on("connect", (_req, socket) => {
		socket.on("error", () => {});
		answerRaw(socket, "METHOD_UNKNOWN");
	});
	server.on("clientError", (error: NodeJS.ErrnoException, socket) => {
		answerRaw(socket, REFUSAL_OF[error.code ?? ""] ?? "REQUEST_MALFORMED");
	});
	return server;
}
