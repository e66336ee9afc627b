/**
 * Requests wait at the door while what they need is started anew (`hold` in `proxy/control`). Who holds a part
 * releases it, however things end; a hold that is forgotten ends by itself after the door's own limit.
 */
import type { Part } from "../../infra/contract.ts";
import { containerOf } from "./docker.ts";
import { control, type HeldPart } from "./door.ts";
import { OpsError } from "./errors.ts";
import type { Report } from "./report.ts";
import { duration } from "./text.ts";

/** What a hold has been for those who waited. Times in seconds. */
export interface Held {
	part: Part;
	/** From the moment when nothing new went to the part until it could again. */
	seconds: number;
	/** Requests that waited. */
	requests: number;
	/** The longest that one of them waited. */
	longest: number;
	/** Requests that waited past the door's limit, and were told to come back. */
	refused: number;
}

export class Holds {
	readonly #name: string;
	readonly #report: Report;
	readonly #held = new Set<HeldPart>();

	/** @param name the stack's name on the host. */
	constructor(name: string, report: Report) {
		this.#name = name;
		this.#report = report;
	}

	/**
	 * From here on requests that need the part wait. Without a door there is nobody who could ask, and nothing is held;
	 * one that cannot hold is told of, and no reason to leave the part as it is.
	 * @returns whether it is held.
	 */
	async hold(part: HeldPart): Promise<boolean> {
		if ((await containerOf(this.#name, "door"))?.State.Status !== "running") return false;
		// Held even if no answer comes: it may have been heard.
		this.#held.add(part);
		const answer = await control(this.#name, "hold", { part }).catch((error: unknown) => {
			if (!(error instanceof OpsError)) throw error;
			this.#report.note(`Requests to ${part} do not wait: ${error.problem.what}`);
		});
		if (!answer) return false;
		const { drained, running, waitedMs } = answer;
		if (!drained)
			this.#report.note(
				`${running} requests to ${part} had not finished after ${duration(waitedMs)}; they are cut off.`,
			);
		return true;
	}

	/** Lets the requests go on. @returns what it was for them, if the door still knows of the hold. */
	async release(part: HeldPart): Promise<Held | undefined> {
		if (!this.#held.delete(part)) return undefined;
		try {
			const { heldMs, held, longestMs, refused } = await control(this.#name, "release", { part });
			return { part, seconds: heldMs / 1000, requests: held, longest: longestMs / 1000, refused };
		} catch (error) {
			if (!(error instanceof OpsError)) throw error;
			// A door that was started anew holds nothing.
			this.#report.log(`release ${part}: ${error.problem.what} ${error.problem.why ?? ""}`);
			return undefined;
		}
	}

	/** Releases what a command that was killed has left held. */
	async releaseForgotten(): Promise<void> {
		const { holds } = await control(this.#name, "holds");
		for (const { part, reason } of holds) {
			if (reason !== "announced") continue;
			this.#report.note(
				`Requests were still held for ${part} by a command that is gone; letting them go on.`,
			);
			await control(this.#name, "release", { part });
		}
	}

	/** Releases what is still held. */
	async releaseAll(): Promise<Held[]> {
		const ended = await Promise.all([...this.#held].map((part) => this.release(part)));
		return ended.filter((one) => one !== undefined);
	}
}
