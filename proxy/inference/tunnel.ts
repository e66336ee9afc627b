/**
 * One WebSocket between a client and the inference API. The door does not read its frames: it decides who may
 * open one, and ends it when the credential ends.
 */
import type { IncomingMessage } from "node:http";
import type { Socket } from "node:net";
import { isSameOrigin } from "../accounts/authority.ts";
import type { Allowed, Upgrade } from "../answerer.ts";
import type { Identity } from "../authority.ts";
import type { DoorErrorCode } from "../errors.ts";
import type { Watched } from "../forward/transfers.ts";
import type { Api } from "./dial.ts";
import { SILENCE } from "./exchange.ts";
import { headersToApi } from "./headers.ts";
import type { Refuse } from "./refuse.ts";
import { askToSwitch } from "./relay.ts";
import { Reply } from "./reply.ts";
import { pathAtApi } from "./route.ts";

/**
 * A browser opens a WebSocket to any site, with that site's cookies, and no CSRF token can go along: its Origin
 * is all there is. Scripts with a token or a password of their own send none.
 */
export function mayOpen({ facts, identity }: Pick<Allowed, "facts" | "identity">): boolean {
	if (!isSameOrigin(facts)) return false;
	return facts.headers.origin !== undefined || identity.kind !== "session";
}

/** Milliseconds for the API to switch. Until then nobody reads from the client, nor learns that it has gone. */
const HANDSHAKE = 30_000;

export class Tunnel implements Watched {
	readonly #allowed: Allowed;
	readonly #upgrade: Upgrade;
	readonly #api: Api;
	readonly #refuse: Refuse;
	readonly #left = new AbortController();
	#socket: Socket | undefined;
	#reply: Reply | undefined;
	#over = false;
	#switched = false;
	readonly endless = true;

	constructor(allowed: Allowed, upgrade: Upgrade, api: Api, refuse: Refuse) {
		this.#allowed = allowed;
		this.#upgrade = upgrade;
		this.#api = api;
		this.#refuse = refuse;
	}

	get identity(): Identity {
		return this.#allowed.identity;
	}

	get waitingSince(): number | undefined {
		return this.#reply?.waitingSince;
	}

	async start(): Promise<void> {
		const { req, res, target } = this.#allowed;
		res.once("close", () => this.#stop());
		let socket: Socket;
		try {
			socket = await this.#api.connect(this.#left.signal);
		} catch (error) {
			this.#failed(error as Error);
			return;
		}
		if (this.#over) {
			socket.destroy();
			return;
		}
		this.#socket = socket;
		const path = pathAtApi(target.forward);
		const { socket: client, head } = this.#upgrade;
		socket.once("close", () => {
			if (!this.#switched && this.#reply === undefined) {
				this.#failed(new Error("the inference API closed the connection"));
			}
		});
		const asked = { method: "GET", path, headers: headersToApi(req.headers, this.#api.host, true) };
		askToSwitch(
			asked,
			client,
			head,
			{ api: this.#api.url, socket },
			{
				answered: (answer) => this.#answered(answer, path),
				failed: (error) => this.#failed(error),
				switched: () => this.#onSwitched(socket),
			},
		);
		socket.setTimeout(HANDSHAKE, () => this.end("API_TIMEOUT"));
	}

	end(code: DoorErrorCode): void {
		if (this.#over) return;
		this.#stop();
		if (this.#switched) this.#upgrade.socket.destroy();
		else this.#refuse(this.#allowed, code);
	}

	#onSwitched(socket: Socket): void {
		this.#switched = true;
		this.#allowed.switched?.();
		// The library has taken the limit off. Whatever goes either way counts as life.
		socket.setTimeout(SILENCE);
	}

	/** The API answers instead of switching: it has no such thing there, say. */
	#answered(answer: IncomingMessage, path: string): void {
		if (this.#over) {
			answer.destroy();
			return;
		}
		this.#reply = new Reply(answer, this.#allowed.res, path, this.#api.host, {
			unfit: () => this.end("API_ANSWER"),
			whole: () => this.#stop(),
			cut: () => {
				this.#stop();
				this.#upgrade.socket.destroy();
			},
		});
	}

	#failed(error: Error): void {
		if (this.#over || this.#reply !== undefined) return;
		if (!this.#switched) this.#allowed.failed(error);
		this.end("API_UNAVAILABLE");
	}

	#stop(): void {
		if (this.#over) return;
		this.#over = true;
		this.#left.abort();
		this.#socket?.destroy();
	}
}
