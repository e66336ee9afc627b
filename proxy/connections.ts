/**
 * Open connections, and who may have them. Strangers together may hold so many; when another one comes, the
 * stranger who has been doing nothing for the longest goes. A connection on which somebody was known is never taken away, so
 * a crowd that only connects and waits cannot keep anybody out who works here.
 */
import type { Socket } from "node:net";

/** Of each listener. A connection costs some 20 KiB. */
export const STRANGERS = 1_000;

const crowds = new WeakMap<Socket, Connections>();

export class Connections {
	/** Connections on which nobody is known yet, the longest idle first. */
	readonly #strangers = new Set<Socket>();
	readonly #most: number;

	constructor(most: number = STRANGERS) {
		this.#most = most;
	}

	get strangers(): number {
		return this.#strangers.size;
	}

	/** A new connection. */
	opened(socket: Socket): void {
		crowds.set(socket, this);
		this.#strangers.add(socket);
		socket.once("close", () => this.#strangers.delete(socket));
		if (this.#strangers.size <= this.#most) return;
		const [oldest] = this.#strangers;
		if (oldest !== undefined) {
			this.#strangers.delete(oldest);
			oldest.destroy();
		}
	}

	/** A request came on it: of the strangers it is now the last to go. */
	moved(socket: Socket): void {
		if (this.#strangers.delete(socket)) this.#strangers.add(socket);
	}

	known(socket: Socket): void {
		this.#strangers.delete(socket);
	}
}

/** Somebody was known on a connection: it is no stranger's any more. */
export const knownOn = (socket: Socket): void => crowds.get(socket)?.known(socket);
