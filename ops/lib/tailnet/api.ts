/** Tailscale's API, as far as we use it: the policy, two switches, and a token for OAuth clients. */
import { type Dispatcher, fetch } from "undici";
import { isOauthSecret, oauthClientId } from "../../../infra/tailnet-credentials.ts";
import { agent } from "../download.ts";
import { OpsError } from "../errors.ts";

/** The variable that Pulumi's provider reads as well. */
const origin = (): string =>
	(process.env.TAILSCALE_BASE_URL || "https://api.tailscale.com").replace(/\/+$/, "");

const TIMEOUT_MS = 20_000;
const HUJSON = "application/hujson";

export interface PolicyText {
	text: string;
	/** As the server wrote it; a write that names another one is refused. */
	etag: string;
}

/** The credentials may not do this; others may. */
export class NotPermitted extends Error {
	override readonly name = "NotPermitted";
}

/** Somebody else has changed it since it was read. */
export class ChangedMeanwhile extends Error {
	override readonly name = "ChangedMeanwhile";
}

interface Call {
	method?: "POST" | "PATCH";
	accept?: string;
	type?: string;
	body?: string;
	etag?: string;
	authorization?: string;
}

/** @throws NotPermitted, ChangedMeanwhile, or OpsError TAILNET_API_AWAY, TAILNET_CREDENTIALS_REFUSED, TAILNET_API_FAILED */
export class TailnetApi {
	readonly #authorization: string;

	private constructor(authorization: string) {
		this.#authorization = authorization;
	}

	/** @param credentials setting `funnel.credentials` */
	static async open(credentials: string): Promise<TailnetApi> {
		if (!isOauthSecret(credentials)) return new TailnetApi(basic(credentials, ""));
		const body = new URLSearchParams({ grant_type: "client_credentials" }).toString();
		const answer = await call("oauth/token", {
			method: "POST",
			type: "application/x-www-form-urlencoded",
			body,
			authorization: basic(oauthClientId(credentials), credentials),
		}).catch((error: unknown) => {
			throw error instanceof NotPermitted ? refused(error.message) : error;
		});
		const { access_token } = JSON.parse(answer.text) as { access_token?: string };
		if (!access_token) throw refused("it gave no access token");
		return new TailnetApi(`Bearer ${access_token}`);
	}

	async policy(): Promise<PolicyText> {
		const { text, etag } = await this.#call("acl", { accept: HUJSON });
		// Without it a write could undo what somebody else has written meanwhile.
		if (!etag) throw failed("the policy came without an ETag");
		return { text, etag };
	}

	/** @returns what is wrong with the policy, as Tailscale says it; undefined if nothing is. */
	async faultOf(policy: string): Promise<string | undefined> {
		const { text } = await this.#call("acl/validate", { method: "POST", type: HUJSON, body: policy });
		const { message } = (text.trim() ? JSON.parse(text) : {}) as { message?: string };
		return message || undefined;
	}

	async writePolicy({ text, etag }: PolicyText): Promise<void> {
		await this.#call("acl", { method: "POST", type: HUJSON, body: text, etag });
	}

	async isMagicDnsOn(): Promise<boolean> {
		const { text } = await this.#call("dns/preferences");
		return (JSON.parse(text) as { magicDNS?: boolean }).magicDNS === true;
	}

	async switchMagicDnsOn(): Promise<void> {
		await this.#call("dns/preferences", json("POST", { magicDNS: true }));
	}

	async isHttpsOn(): Promise<boolean> {
		const { text } = await this.#call("settings");
		return (JSON.parse(text) as { httpsEnabled?: boolean }).httpsEnabled === true;
	}

	/** What is not named stays as it is. */
	async switchHttpsOn(): Promise<void> {
		await this.#call("settings", json("PATCH", { httpsEnabled: true }));
	}

	#call(path: string, options: Call = {}): Promise<Answer> {
		// `-`: the tailnet of the credentials.
		return call(`tailnet/-/${path}`, { ...options, authorization: this.#authorization });
	}
}

interface Answer {
	text: string;
	etag: string | null;
}

const basic = (user: string, password: string): string =>
	`Basic ${Buffer.from(`${user}:${password}`).toString("base64")}`;

const json = (method: "POST" | "PATCH", body: unknown): Call => ({
	method,
	type: "application/json",
	body: JSON.stringify(body),
});

async function call(
	path: string,
	{ method, accept, type, body, etag, authorization }: Call,
): Promise<Answer> {
	const url = `${origin()}/api/v2/${path}`;
	let status: number;
	let answer: Answer;
	try {
		const response = await fetch(url, {
			method: method ?? "GET",
			headers: {
				accept: accept ?? "application/json",
				...(authorization && { authorization }),
				...(type && { "content-type": type }),
				...(etag && { "if-match": etag }),
			},
			...(body !== undefined && { body }),
			// The credentials go nowhere else.
			redirect: "error",
			dispatcher: agent() as Dispatcher,
			signal: AbortSignal.timeout(TIMEOUT_MS),
		});
		status = response.status;
		answer = { text: await response.text(), etag: response.headers.get("etag") };
	} catch (error) {
		throw away(url, error);
	}
	if (status >= 200 && status < 300) return answer;
	throw failureOf(status, messageIn(answer.text) || `status ${status}`, path);
}

function failureOf(status: number, message: string, path: string): Error {
	if (status === 401) return refused(message);
	if (status === 403) return new NotPermitted(message);
	if (status === 412) return new ChangedMeanwhile(message);
	// An OAuth client that does not exist is no permission that is missing.
	return path === "oauth/token" && status < 500 ? refused(message) : failed(`${path}: ${message}`);
}

function messageIn(text: string): string {
	try {
		const { message, error_description: description } = JSON.parse(text);
		return String(message ?? description ?? "");
	} catch {
		return "";
	}
}

const refused = (why: string): OpsError =>
	new OpsError({
		code: "TAILNET_CREDENTIALS_REFUSED",
		kind: "precondition",
		what: "Tailscale does not take the credentials (funnel.credentials): they have expired, were revoked, or are mistyped.",
		why,
		fix: "Give new ones: npx mlgate config set funnel.credentials < <file>. A node that has joined needs none any more; an empty file takes them back.",
	});

const failed = (why: string): OpsError =>
	new OpsError({
		code: "TAILNET_API_FAILED",
		kind: "precondition",
		what: "Tailscale's API does not do what it should.",
		why,
		fix: "Try again later (https://status.tailscale.com), or join with an auth key: npx mlgate config set funnel.authKey < <file>",
	});

function away(url: string, error: unknown): OpsError {
	let deepest = error;
	while (deepest instanceof Error && deepest.cause) deepest = deepest.cause;
	return new OpsError(
		{
			code: "TAILNET_API_AWAY",
			kind: "precondition",
			what: `Tailscale's API (${new URL(url).host}) cannot be reached.`,
			why: deepest instanceof Error ? deepest.message || deepest.name : String(deepest),
			fix: "Check the network, then run the command again. A node that has joined needs no credentials any more; an empty file takes them back: npx mlgate config set funnel.credentials < /dev/null",
		},
		{ cause: error },
	);
}
