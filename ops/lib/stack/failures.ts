/** From what Pulumi, the provider and Docker say to what happened, why, and the one thing to do. */
import { stripVTControlCharacters } from "node:util";
import { OpsError, type Problem } from "../errors.ts";
import type { StackRef } from "./config-file.ts";
import type { EngineError } from "./events.ts";
import { forgetSecrets } from "./passphrase.ts";
import { PulumiFailure } from "./pulumi.ts";

export interface FailureContext extends StackRef {
	/** What was being done, as in "could not <doing>". */
	doing: string;
	/** What the engine reported. */
	errors?: readonly EngineError[];
	/** The person ended it. */
	interrupted: boolean;
	/** What things of the stack begin with on the host, if it is known. */
	stackName?: string;
}

interface Failure {
	code: string;
	kind: Problem["kind"];
	/** In the cause. */
	match: RegExp;
	what(match: RegExpMatchArray, context: FailureContext, resource: string): string;
	fix(match: RegExpMatchArray, context: FailureContext, resource: string): string;
}

const ENGINE_FIX = "Start Docker, then run the command again.";

/** The first that matches counts. */
const FAILURES: readonly Failure[] = [
	{
		code: "PASSPHRASE_WRONG",
		kind: "precondition",
		match: /incorrect passphrase|passphrase must be set/,
		what: (_, { stack }) => `The passphrase does not open the secrets of the stack ${stack}.`,
		fix: (_, context) =>
			forgetSecrets(
				context,
				"Set PULUMI_CONFIG_PASSPHRASE to the right one, or put .mlgate/passphrase back from a copy.",
			),
	},
	{
		code: "PORT_IN_USE",
		kind: "precondition",
		match: /(?::(\d+)\b[^:]*: )?(?:bind: )?(?:address already in use|port is already allocated)/,
		what: (_, context) => `Port ${portIn(context) ?? "of the door"} is in use by another program.`,
		fix: () => "Stop that program, or take another port: npx mlgate config set port <port>",
	},
	{
		code: "NAME_TAKEN",
		kind: "precondition",
		match: /(?:container name "\/?([^"]+)" is already in use|network with name (\S+) already exists)/,
		what: ([, container, network]) =>
			container
				? `A container named ${container} exists already.`
				: `A network named ${network} exists already.`,
		fix: () => "Remove or rename it, or give this stack another name: npx mlgate config set name <name>",
	},
	{
		code: "IMAGE_MISSING",
		kind: "precondition",
		match:
			/(?:pull access denied for|unable to pull image|unable to find or pull image|no such image:?)\s*(mlgate-[\w-]+:\w+)?/i,
		what: ([, image]) => `The image ${image ?? "of a part"} is not on this machine.`,
		fix: () => "npx mlgate up builds what is missing.",
	},
	{
		code: "PLUGIN_MISSING",
		kind: "precondition",
		match: /no resource plugin|plugin .*not (?:installed|found)|could not (?:load|find) .*plugin/i,
		what: () => "Pulumi's docker provider is not installed.",
		fix: () => "npx mlgate up installs it.",
	},
	{
		code: "TAILNET_TAG_REFUSED",
		kind: "precondition",
		match: /requested tags \[?([^\]]*?)\]? are invalid or not permitted/i,
		what: ([, tag]) => `Tailscale makes no key for the node's tag ${tag} with these credentials.`,
		fix: () =>
			"An OAuth client must have this tag and no other (https://login.tailscale.com/admin/settings/oauth); an API access token needs the tag in tagOwners of the policy.",
	},
	{
		code: "TAILNET_KEY_REFUSED",
		kind: "precondition",
		match: /does not have enough permissions|does not have access to this operation/i,
		what: () => "The credentials (funnel.credentials) may not make a key for the node.",
		fix: () =>
			"Give the OAuth client the scope auth_keys, or join with an auth key: npx mlgate config set funnel.authKey < <file>",
	},
	{
		code: "ENGINE_AWAY",
		kind: "precondition",
		match:
			/cannot connect to the docker daemon|error during connect|error pinging docker|docker\.sock: connect|is the docker daemon running|docker: (?:command )?not found/i,
		what: () => "The Docker engine does not answer.",
		fix: () => ENGINE_FIX,
	},
	{
		code: "PULUMI_LOCKED",
		kind: "locked",
		match: /currently locked by|another update is currently in progress/i,
		what: (_, { stack }) => `Another Pulumi run is working on the stack ${stack}.`,
		fix: () => "Wait until it has ended, then run the command again.",
	},
	{
		code: "DATA_PROTECTED",
		kind: "dataRisk",
		match: /marked for protection|protected resource/i,
		what: () => "The change would remove or replace a data volume.",
		fix: () => "npx mlgate preview shows the change; take it back.",
	},
	{
		code: "PART_UNHEALTHY",
		kind: "unhealthy",
		match: /failed to be in healthy state/,
		what: (_, __, resource) => `${resource} did not become healthy in time.`,
		fix: (_, __, resource) => `npx mlgate logs ${resource}`,
	},
	{
		code: "VOLUME_IN_USE",
		kind: "precondition",
		match: /last state: 'in_use'|volume is in use/,
		what: (_, context, resource) => `A container still holds the volume ${hostNameOf(resource, context)}.`,
		fix: (_, context, resource) =>
			`docker ps -a --filter volume=${hostNameOf(resource, context)} names it; remove it, then run the command again.`,
	},
	{
		code: "NETWORK_IN_USE",
		kind: "precondition",
		match: /has active endpoints|timeout while waiting for state to become 'removed'/,
		what: (_, context, resource) =>
			`The network ${hostNameOf(resource, context)} still has containers that are not of this stack.`,
		fix: (_, context, resource) =>
			`docker network inspect ${hostNameOf(resource, context)} names them; take each off with docker network disconnect, then run the command again.`,
	},
	{
		code: "ADDRESSES_USED_UP",
		kind: "precondition",
		match: /address pools? (?:have|has) been fully subnetted|could not find an available, non-overlapping/,
		what: () => "Docker has no addresses left for another network.",
		fix: () => "Remove networks that nobody uses: docker network prune",
	},
	{
		code: "DISK_FULL",
		kind: "precondition",
		match: /no space left on device/,
		what: () => "The disk is full.",
		fix: () => "Free some space, then run the command again.",
	},
	{
		code: "SECRETS_MISSING",
		kind: "precondition",
		match: /missing required configuration variable 'mlgate:secret\./i,
		what: (_, { stack }) => `The stack ${stack} has no secrets yet.`,
		fix: () => "npx mlgate up makes them.",
	},
];

const hostNameOf = (resource: string, { stackName }: FailureContext): string =>
	stackName ? `${stackName}-${resource}` : resource;

/**
 * Everything else that goes through here is passed on as it is. What Pulumi printed is for the log; the causes of
 * it are in `why`.
 */
export function asOpsError(error: unknown, context: FailureContext): unknown {
	if (error instanceof OpsError) return error;
	if (context.interrupted)
		return new OpsError({
			code: "INTERRUPTED",
			kind: "interrupted",
			what: `Interrupted before it could ${context.doing}.`,
			fix: "Run the command again; it goes on from where things are.",
		});
	if (!(error instanceof PulumiFailure)) return error;
	const causes = causesOf(error, context.errors ?? []);
	for (const failure of FAILURES)
		for (const { resource = "", message } of causes) {
			const match = message.match(failure.match);
			if (!match) continue;
			return new OpsError({
				code: failure.code,
				kind: failure.kind,
				what: failure.what(match, context, resource),
				why: message,
				fix: failure.fix(match, context, resource),
			});
		}
	const last = causes.at(-1);
	return new OpsError({
		code: "PULUMI_FAILED",
		kind: "internal",
		what: `Could not ${context.doing}.`,
		...(last ? { why: `${last.resource ? `${last.resource}: ` : ""}${last.message}` } : {}),
		fix: "Look into the log of this command, mend the cause, then run it again.",
	});
}

/** Says nothing: the cause stands elsewhere. */
const HOLLOW = /^(?:update|preview|destroy|refresh) failed$|resource monitor shut down|^interrupted$|^\s*$/;

/** What was said to be wrong, the wrappings taken off. */
function causesOf(error: PulumiFailure, engine: readonly EngineError[]): EngineError[] {
	const own = `${error.stderr}\n${engine.length === 0 ? error.stdout : ""}`
		.split("\n")
		.filter((line) => /error:/i.test(line))
		.map((message): EngineError => ({ message }));
	return [...own, ...engine]
		.map((said) => ({ ...said, message: bare(said.message) }))
		.filter(({ message }) => !HOLLOW.test(message));
}

function bare(message: string): string {
	return stripVTControlCharacters(message)
		.replace(/<\{%[^%]*%\}>/g, "")
		.replace(/^[\s\S]*?\d+ errors? occurred:\s*\*?\s*/, "")
		.replace(/^\s*error:\s*/i, "")
		.replace(/^\s*sdk-v2\/provider2?\.go:\d+:\s*/, "")
		.replace(/^sdk\.helper_schema:\s*/, "")
		.replace(/:?\s*provider=\w+@[\w.-]+\s*$/, "")
		.replace(/\s+/g, " ")
		.trim();
}

const portIn = (context: FailureContext): string | undefined =>
	context.errors?.map(({ message }) => message.match(/(?:127\.0\.0\.1|0\.0\.0\.0):(\d+)/)?.[1]).find(Boolean);
