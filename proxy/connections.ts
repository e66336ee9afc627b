/**
 * Open connections, and who may have them. Strangers together may hold so many; when another one comes, the
 * stranger who has been doing nothing for the longest goes. A connection on which somebody was known is not taken
 * away, so a crowd that only connects and waits cannot keep anybody out who works here. That holds for so many
 * connections of one credential; what it opens beyond them counts as a stranger's, so one stolen token cannot
 * fill the door's memory either.
 */
import type { Socket } from "node:net";
import type { Identity } from "./authority.ts";

/** Of each listener. A connection costs some 20 KiB. */
export const STRANGERS = 1_000;

/** Of one credential on one listener. MLflow's client keeps ten; whoever trains on a hundred machines has many. */
export const MEMBERS = 500;

const crowds = new WeakMap<Socket, Connections>();

export class Connections {
	/** Connections on which nobody is known yet, the longest idle first. */
	readonly #strangers = new Set<Socket>();
	/** By credential: connections on which it was known first. */
	readonly #members = new Map<string, Set<Socket>>();
	readonly #most: number;
	readonly #mostOfOne: number;

	constructor(most: number = STRANGERS, mostOfOne: number = MEMBERS) {
		this.#most = most;
		this.#mostOfOne = mostOfOne;
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

	known(socket: Socket, { kind, credential: id }: Pick<Identity, "kind" | "credential">): void {
		if (!this.#strangers.has(socket)) return;
		const credential = `${kind} ${id}`;
		const members = this.#members.get(credential) ?? new Set();
		if (members.size >= this.#mostOfOne) return;
		this.#strangers.delete(socket);
		this.#members.set(credential, members.add(socket));
		socket.once("close", () => {
			members.delete(socket);
			if (members.size === 0) this.#members.delete(credential);
		});
	}
}

/** Somebody was known on a connection: it is no stranger's any more. */
export const knownOn = (socket: Socket, identity: Pick<Identity, "kind" | "credential">): void =>
	crowds.get(socket)?.known(socket, identity);
