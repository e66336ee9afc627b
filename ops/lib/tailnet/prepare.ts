/** Before a node joins with credentials of the API: the tailnet made ready for it, and nothing of it touched unasked. */
import { OpsError } from "../errors.ts";
import type { Report } from "../report.ts";
import type { StackRef } from "../stack/config-file.ts";
import { ChangedMeanwhile, NotPermitted, type PolicyText, type TailnetApi } from "./api.ts";
import type { Consent } from "./consent.ts";
import { changesOf } from "./diff.ts";
import { allEntries, type Entry, missing, PolicyError, snippet, type Wanted, withEntries } from "./policy.ts";
import { readRecord, writeRecord } from "./record.ts";

/** Where people change it themselves. */
export const POLICY_PAGE = "https://login.tailscale.com/admin/acls/file";
const DNS_PAGE = "https://login.tailscale.com/admin/dns";

/** Somebody else wrote between our reading and our writing. More often than that is no coincidence. */
export const TRIES = 3;

/**
 * Puts into the policy what it lacks, once somebody has seen it and agreed; `--yes` agrees to what is only added.
 * @throws OpsError TAILNET_POLICY_INCOMPLETE, TAILNET_POLICY_UNREADABLE, TAILNET_POLICY_REFUSED, TAILNET_POLICY_BUSY
 */
export async function preparePolicy(
	api: TailnetApi,
	wanted: Wanted,
	ref: StackRef,
	report: Report,
	consent: Consent,
): Promise<void> {
	let shown = "";
	for (let left = TRIES; left > 0; left--) {
		const policy = await readable(api, wanted, report);
		if (!policy) return;
		const lacking = understood(() => missing(policy.text, wanted), allEntries(wanted));
		if (lacking.length === 0) return;
		const { text, added } = understood(() => withEntries(policy.text, lacking), lacking);
		const changes = changesOf(policy.text, text);
		// After a colleague's change the same lines are no news.
		if (shown !== snippet(added)) {
			report.note(`The tailnet's policy lacks this, which the node needs:\n${changes}`);
			await agreed(consent, lacking);
			shown = snippet(added);
		}
		try {
			await valid(api, text, lacking);
			await api.writePolicy({ text, etag: policy.etag });
		} catch (error) {
			if (error instanceof NotPermitted) throw incomplete(lacking, PERMISSION.policy(error.message));
			if (!(error instanceof ChangedMeanwhile)) throw error;
			report.note("Somebody else has changed the policy meanwhile; reading it again.");
			continue;
		}
		writeRecord(ref, [...readRecord(ref), ...added]);
		report.note("It is in the policy now.");
		return;
	}
	throw busy();
}

const PERMISSION = {
	policy: (why: string) =>
		`The credentials may not write the policy (${why}); an OAuth client needs the scope policy_file.`,
};

async function readable(api: TailnetApi, wanted: Wanted, report: Report): Promise<PolicyText | undefined> {
	try {
		return await report.step("Looking at the tailnet's policy", () => api.policy());
	} catch (error) {
		if (!(error instanceof NotPermitted)) throw error;
		// Whoever gave no more than the right to make keys has prepared the policy by hand, or will read this.
		report.note(
			`The credentials may not look at the tailnet's policy. It must say this (${POLICY_PAGE}):\n${snippet(allEntries(wanted))}`,
		);
		return undefined;
	}
}

async function agreed({ yes, interactive, ask }: Consent, lacking: readonly Entry[]): Promise<void> {
	if (yes || (interactive && (await ask("Add it?")))) return;
	throw incomplete(
		lacking,
		interactive ? "It was not agreed to." : "Nobody can be asked here; --yes adds it.",
	);
}

/** What Tailscale itself says of the policy before anything is written. */
async function valid(api: TailnetApi, text: string, lacking: readonly Entry[]): Promise<void> {
	const fault = await api.faultOf(text);
	if (fault === undefined) return;
	throw new OpsError({
		code: "TAILNET_POLICY_REFUSED",
		kind: "precondition",
		what: "Tailscale does not take the policy with what it lacks; nothing was changed.",
		why: fault,
		fix: byHand(lacking),
	});
}

/** @throws OpsError TAILNET_POLICY_UNREADABLE */
export function understood<T>(work: () => T, entries: readonly Entry[]): T {
	try {
		return work();
	} catch (cause) {
		if (!(cause instanceof PolicyError)) throw cause;
		throw new OpsError(
			{
				code: "TAILNET_POLICY_UNREADABLE",
				kind: "precondition",
				what: "The tailnet's policy cannot be changed safely; nothing was.",
				why: cause.message,
				fix: byHand(entries),
			},
			{ cause },
		);
	}
}

const incomplete = (lacking: readonly Entry[], why: string): OpsError =>
	new OpsError({
		code: "TAILNET_POLICY_INCOMPLETE",
		kind: "precondition",
		what: "The tailnet's policy lacks what the node needs.",
		why,
		fix: byHand(lacking),
	});

const byHand = (entries: readonly Entry[]): string =>
	`Add this to the sections of the same name at ${POLICY_PAGE}, then npm start:\n${snippet(entries)}`;

export const busy = (): OpsError =>
	new OpsError({
		code: "TAILNET_POLICY_BUSY",
		kind: "precondition",
		what: `Somebody else changed the tailnet's policy ${TRIES} times in a row while this was at it; nothing was changed.`,
		fix: `Find out who it is (${POLICY_PAGE}, "Changes"), then run the command again.`,
	});

/** What the whole tailnet must have switched on. */
interface Switch {
	name: string;
	effect: string;
	/** Of an OAuth client. */
	scope: string;
	isOn(api: TailnetApi): Promise<boolean>;
	switchOn(api: TailnetApi): Promise<void>;
}

const SWITCHES: readonly Switch[] = [
	{
		name: "MagicDNS",
		effect: "machines of the tailnet find one another by name",
		scope: "dns",
		isOn: (api) => api.isMagicDnsOn(),
		switchOn: (api) => api.switchMagicDnsOn(),
	},
	{
		name: "HTTPS certificates",
		effect: "names that get a certificate are listed in public logs",
		scope: "feature_settings",
		isOn: (api) => api.isHttpsOn(),
		switchOn: (api) => api.switchHttpsOn(),
	},
];

/**
 * Switches on what is off, if the person at the terminal says so; `--yes` does not: it is the whole tailnet's.
 * @throws OpsError TAILNET_SWITCH_OFF
 */
export async function prepareSwitches(api: TailnetApi, report: Report, consent: Consent): Promise<void> {
	for (const one of SWITCHES) {
		try {
			if (await one.isOn(api)) continue;
		} catch (error) {
			if (!(error instanceof NotPermitted)) throw error;
			report.note(
				`The credentials may not look whether ${one.name} is on; verify funnel tells it afterwards.`,
			);
			continue;
		}
		const question = `${one.name} is off in the tailnet. Switch it on for all of it (${one.effect})?`;
		if (!consent.interactive || !(await consent.ask(question))) throw off(one);
		try {
			await one.switchOn(api);
		} catch (error) {
			if (error instanceof NotPermitted)
				throw off(
					one,
					`The credentials may not (${error.message}); an OAuth client needs the scope ${one.scope}.`,
				);
			throw error;
		}
		if (!(await one.isOn(api))) throw off(one, "Tailscale took the change, and it is still off.");
		report.note(`${one.name} is on now.`);
	}
}

const off = ({ name, effect }: Switch, why?: string): OpsError =>
	new OpsError({
		code: "TAILNET_SWITCH_OFF",
		kind: "precondition",
		what: `${name} is off in the tailnet, and the public URL needs it.`,
		why: why ?? `It concerns all of the tailnet (${effect}), so it is asked for at a terminal alone.`,
		fix: `Switch it on at ${DNS_PAGE}, then npm start`,
	});
