/** Takes out of the tailnet's policy what mlgate has put in, and nothing else. */
import { OpsError } from "../errors.ts";
import type { Report } from "../report.ts";
import type { StackRef } from "../stack/config-file.ts";
import { ChangedMeanwhile, NotPermitted, type TailnetApi } from "./api.ts";
import type { Consent } from "./consent.ts";
import { changesOf } from "./diff.ts";
import { type Entry, snippet, withoutEntries } from "./policy.ts";
import { busy, POLICY_PAGE, TRIES, understood } from "./prepare.ts";
import { readRecord, writeRecord } from "./record.ts";

export interface Withdrawn {
	removed: Entry[];
	/** Ours once; somebody has changed or removed them since, so they stay as they are. */
	left: Entry[];
}

/** @throws OpsError TAILNET_POLICY_KEPT, TAILNET_POLICY_UNREADABLE, TAILNET_POLICY_BUSY */
export async function withdraw(
	api: TailnetApi,
	ref: StackRef,
	report: Report,
	consent: Consent,
): Promise<Withdrawn> {
	const ours = readRecord(ref);
	if (ours.length === 0) return { removed: [], left: [] };
	let shown = "";
	try {
		for (let left = TRIES; left > 0; left--) {
			const policy = await api.policy();
			const result = understood(() => withoutEntries(policy.text, ours), ours);
			if (result.removed.length > 0) {
				if (shown !== snippet(result.removed)) {
					report.note(
						`This of the tailnet's policy was put in by mlgate and is to go:\n${changesOf(policy.text, result.text)}`,
					);
					await agreed(consent, result.removed);
					shown = snippet(result.removed);
				}
				try {
					await api.writePolicy({ text: result.text, etag: policy.etag });
				} catch (error) {
					if (!(error instanceof ChangedMeanwhile)) throw error;
					report.note("Somebody else has changed the policy meanwhile; reading it again.");
					continue;
				}
			}
			writeRecord(ref, []);
			return { removed: result.removed, left: result.left };
		}
	} catch (error) {
		throw error instanceof NotPermitted
			? kept(ours, `The credentials may not change it (${error.message}).`)
			: error;
	}
	throw busy();
}

/** `--yes` is no answer: what is taken away may be another stack's way in by now. */
async function agreed({ interactive, ask }: Consent, entries: readonly Entry[]): Promise<void> {
	if (interactive && (await ask("Take it out? Other stacks with the same tag need it, too."))) return;
	throw kept(
		entries,
		interactive ? "It was not agreed to." : "It is asked for at a terminal, without --yes and --json.",
	);
}

export const kept = (entries: readonly Entry[], why: string): OpsError =>
	new OpsError({
		code: "TAILNET_POLICY_KEPT",
		kind: "precondition",
		what: "The tailnet's policy still has what mlgate has put in.",
		why,
		fix: `Take this out at ${POLICY_PAGE}, or run it again at a terminal:\n${snippet(entries)}`,
	});
