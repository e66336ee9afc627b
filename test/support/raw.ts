/** Bytes over a socket, as they are written, and what comes back. */
import { connect, type Socket } from "node:net";

/** A connection on which a test writes bytes and reads what comes. */
export class Raw {
	readonly socket: Socket;
	received = "";
	ended = false;
	closed = false;

	constructor(port: number) {
		this.socket = connect(port, "127.0.0.1");
		this.socket.on("data", (chunk) => {
			this.received += chunk.toString("latin1");
		});
		this.socket.on("end", () => {
			this.ended = true;
		});
		this.socket.on("close", () => {
			this.closed = true;
		});
		this.socket.on("error", () => {});
	}

	send(text: string | Buffer): void {
		this.socket.write(typeof text === "string" ? Buffer.from(text, "latin1") : text);
	}

	/** Statuses of the answers so far. */
	get statuses(): number[] {
		return [...this.received.matchAll(/HTTP\/1\.1 (\d{3})/g)].map(([, status]) => Number(status));
	}

	/** Waits until something holds; fails after three seconds, or as many milliseconds as are given. */
	async until(holds: (raw: this) => boolean, ms?: number): Promise<this> {
		await eventually(() => holds(this), ms);
		return this;
	}

	destroy(): void {
		this.socket.destroy();
	}
}

export async function eventually(holds: () => boolean, ms = 3000): Promise<void> {
	const end = performance.now() + ms;
	while (!holds()) {
		if (performance.now() > end) throw new Error(`still not so after ${ms} ms: ${holds}`);
		await new Promise((resolve) => setTimeout(resolve, 5));
	}
}

export const quiet = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** One whole answer to raw bytes: status, header block and body. */
export async function exchange(
	port: number,
	bytes: string | Buffer,
	ms?: number,
): Promise<{ status: number; head: string; body: string; code: string | undefined }> {
	const raw = new Raw(port);
	raw.send(bytes);
	await raw.until(({ received, closed }) => {
		if (closed) return true;
		const at = received.indexOf("\r\n\r\n");
		if (at < 0) return false;
		if (String(bytes).startsWith("HEAD ")) return true;
		const length = /\r\ncontent-length: (\d+)/i.exec(received.slice(0, at))?.[1];
		return length === undefined ? received.endsWith("0\r\n\r\n") : received.length >= at + 4 + Number(length);
	}, ms);
	const [head = "", body = ""] = raw.received.split("\r\n\r\n");
	raw.destroy();
	return {
		status: raw.statuses[0] ?? 0,
		head,
		body,
		code: /x-door-error: (\w+)/i.exec(head)?.[1],
	};
}
