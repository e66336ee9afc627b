/**
 * The key that the node joins its tailnet with: the one that was given, or one that is made by Tailscale's API.
 * Nothing else of a tailnet is declared: its policy, DNS and settings belong to everybody in it, and a provider that
 * owns them overwrites what others write and switches off on `destroy` what it never switched on.
 */
import { type Output, secret, unsecret } from "@pulumi/pulumi";
import type { Settings } from "./settings.ts";
import { oauthClientId } from "./tailnet-credentials.ts";

/** What was given to join with; the key goes before the credentials. */
export interface Joining {
	authKey: Output<string> | undefined;
	/** Setting `funnel.credentials`; which of the two kinds it is decides what the provider is told. */
	credentials?: { oauth: boolean; text: Output<string> };
}

/** Seconds until the key is dead, used or not. It is used as soon as the node starts. */
const LIFETIME = 3_600;

/** @returns undefined if nothing was given: the node may have joined already. */
export async function joinKey(
	{ authKey, credentials }: Joining,
	stackName: string,
	settings: Pick<Settings, "funnel" | "funnel.tag">,
): Promise<Output<string> | undefined> {
	if (settings.funnel === "off" || authKey || !credentials) return authKey;
	// Here, because nobody else needs it, nor the plugin behind it.
	const { Provider, TailnetKey } = await import("@pulumi/tailscale");
	const { oauth, text } = credentials;
	const provider = new Provider(
		"tailnet",
		oauth
			? { oauthClientId: unsecret(text.apply(oauthClientId)), oauthClientSecret: text }
			: { apiKey: text },
	);
	const made = new TailnetKey(
		"tailscale-key",
		{
			tags: [settings["funnel.tag"]],
			// For one node, once, without somebody who approves it; and the node stays when it is offline.
			reusable: false,
			preauthorized: true,
			ephemeral: false,
			expiry: LIFETIME,
			// Used up is what it is meant to be: another one would only replace the node.
			recreateIfInvalid: "never",
			description: `mlgate ${stackName}`,
		},
		{ provider, additionalSecretOutputs: ["key"] },
	);
	return secret(made.key);
}
