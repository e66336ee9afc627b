/**
 * A slow line, for browsers: 20 Mbit/s in each direction for all connections together, 60 ms there and back, and
 * connections that begin slowly, as TCP does. `node line.ts <port to listen on> <port to lead to> ...` (pairs);
 * over its IPC channel it tells the bytes that went down since it was asked last.
 *
 * The kernel's own model of a delay (netem) is a module that many machines do not have.
 */
import { connect, createServer, type Socket } from "node:net";

/** Bytes a millisecond. */
const RATE = 20_000_000 / 8 / 1000;
/** Milliseconds, one way. */
const DELAY = 30;
/** Bytes: what a connection may send before it hears anything, and the most that may be on the way. */
const FIRST = 10 * 1460;
const MOST = 4 * 1024 * 1024;
/** What goes at once, so that connections share the line. */
const PIECE = 8 * 1460;

let counted = 0;

/** One direction of the line. What is on the way arrives in order. */
class Direction {
	/** When the line is free again. */
	#free = 0;
	#way: { at: number; arrive: () => void }[] = [];
	#timer: NodeJS.Timeout | undefined;

	/** @returns when it has arrived */
	send(bytes: number, arrive: () => void): number {
		const begins = Math.max(performance.now(), this.#free);
		this.#free = begins + bytes / RATE;
		const at = this.#free + DELAY;
		this.#way.push({ at, arrive });
		this.#wait();
		return at;
	}

	#wait(): void {
		const next = this.#way[0];
		if (next === undefined || this.#timer !== undefined) return;
		this.#timer = setTimeout(
			() => {
				this.#timer = undefined;
				const now = performance.now();
				while (this.#way[0] !== undefined && this.#way[0].at <= now) this.#way.shift()?.arrive();
				this.#wait();
			},
			Math.max(0, next.at - performance.now()),
		);
	}
}

/** One direction of one connection. */
class Flow {
	readonly #direction: Direction;
	readonly #from: Socket;
	readonly #to: Socket;
	readonly #count: (bytes: number) => void;
	#queue: Buffer[] = [];
	#queued = 0;
	#onTheWay = 0;
	#window = FIRST;
	#ended = false;
	#open = false;

	constructor(direction: Direction, from: Socket, to: Socket, count: (bytes: number) => void) {
		this.#direction = direction;
		this.#from = from;
		this.#to = to;
		this.#count = count;
		from.on("data", (chunk: Buffer) => {
			this.#queue.push(chunk);
			this.#queued += chunk.length;
			if (this.#queued > MOST) from.pause();
			this.#pump();
		});
		from.on("end", () => {
			this.#ended = true;
			this.#pump();
		});
	}

	/** The connection stands. */
	open(): void {
		this.#open = true;
		this.#pump();
	}

	#pump(): void {
		while (this.#open && this.#queue.length > 0 && this.#onTheWay < this.#window) {
			const head = this.#queue[0] as Buffer;
			const piece = head.subarray(0, Math.min(PIECE, this.#window - this.#onTheWay));
			if (piece.length === head.length) this.#queue.shift();
			else this.#queue[0] = head.subarray(piece.length);
			this.#queued -= piece.length;
			this.#onTheWay += piece.length;
			this.#count(piece.length);
			this.#direction.send(piece.length, () => {
				if (!this.#to.destroyed) this.#to.write(piece);
				// It hears of it as late again, and dares twice as much.
				setTimeout(() => {
					this.#onTheWay -= piece.length;
					this.#window = Math.min(MOST, this.#window + piece.length);
					this.#pump();
				}, DELAY);
			});
			if (this.#queued < MOST / 2) this.#from.resume();
		}
		if (this.#ended && this.#open && this.#queue.length === 0) {
			this.#ended = false;
			this.#direction.send(0, () => this.#to.end());
		}
	}
}

const [down, up] = [new Direction(), new Direction()];
const pairs = process.argv.slice(2).map(Number);
for (let i = 0; i + 1 < pairs.length; i += 2) {
	createServer({ allowHalfOpen: true }, (near) => {
		const far = connect({ port: pairs[i + 1] as number, host: "127.0.0.1", allowHalfOpen: true });
		const flows = [
			new Flow(up, near, far, () => {}),
			new Flow(down, far, near, (bytes) => {
				counted += bytes;
			}),
		];
		for (const [one, other] of [
			[near, far],
			[far, near],
		] as const) {
			one.setNoDelay(true);
			one.on("error", () => other.destroy());
			one.on("close", () => other.destroy());
		}
		// Its handshake takes once there and back.
		setTimeout(() => {
			for (const flow of flows) flow.open();
		}, 2 * DELAY);
	}).listen(pairs[i] as number, "127.0.0.1");
}
process.on("message", () => {
	process.send?.(counted);
	counted = 0;
});
process.on("disconnect", () => process.exit(0));
