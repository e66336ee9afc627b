/**
 * Tickets for parts of multipart uploads. MLflow's client puts parts with nothing but the URL it was given, so the
 * URL says what may be put and who was allowed to, signed by us.
 */
import { createHmac, hkdfSync, timingSafeEqual } from "node:crypto";

/** Where parts are put. A route of the door: MLflow's own would be the store's. */
export const PART_PATH = "/door/artifact-part";

/** Milliseconds. An upload that rests for minutes is aborted long before; this ends the URL itself. */
const LIFETIME = 24 * 3_600_000;

export interface Ticket {
	/** Of the object. */
	key: string;
	/** Of the store's multipart upload. */
	id: string;
	/** Part numbers go from 1 to this. */
	parts: number;
	/** Whoever began the upload, in words of the request pipeline: it looks whether they still may. */
	owner: string;
}

export class Tickets {
	readonly #secret: Buffer;

	/** @param secret survives a restart of the door, and so do tickets */
	constructor(secret: string) {
		this.#secret = Buffer.from(hkdfSync("sha256", secret, "", "mlgate artifact tickets", 32));
	}

	#mac(text: string): Buffer {
		return createHmac("sha256", this.#secret).update(text).digest();
	}

	issue({ key, id, parts, owner }: Ticket): string {
		const claims = JSON.stringify([key, id, parts, owner, Date.now() + LIFETIME]);
		const text = Buffer.from(claims).toString("base64url");
		return `${text}.${this.#mac(text).toString("base64url")}`;
	}

	/** @returns undefined for anything that we did not sign, or that has expired */
	read(ticket: string): Ticket | undefined {
		const [text = "", mac = "", ...more] = ticket.split(".");
		const given = Buffer.from(mac, "base64url");
		const right = this.#mac(text);
		if (more.length > 0 || given.length !== right.length || !timingSafeEqual(given, right)) return undefined;
		const [key, id, parts, owner, expires] = JSON.parse(Buffer.from(text, "base64url").toString()) as [
			string,
			string,
			number,
			string,
			number,
		];
		return Date.now() < expires ? { key, id, parts, owner } : undefined;
	}
}
