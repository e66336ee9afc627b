/** Answers `/inference/*`: from the inference API, if the stack has one and may be asked. */
import { redirect } from "../answer.ts";
import type { Allowed, Answerer } from "../answerer.ts";
import type { Transfers, Watched } from "../forward/transfers.ts";
import { Api } from "./dial.ts";
import { Exchange } from "./exchange.ts";
import { MOST, type Most, Places } from "./limits.ts";
import { refuser } from "./refuse.ts";
import { BARE, PREFIX } from "./route.ts";
import { mayOpen, Tunnel } from "./tunnel.ts";

export interface InferenceOptions {
	/** The stack's name, for pages. */
	stack: string;
	/** The API's origin; without it there is none. */
	api: string | undefined;
	transfers: Transfers;
	/** For tests: how long a request waits for an API that is away, in ms, and what may be held at once. */
	patience?: number;
	most?: { requests: Most; tunnels: Most };
}

export interface Inference {
	answer: Answerer;
	/** Whether the API takes connections, or there is none that could. */
	isThere(): Promise<boolean>;
	/** Requests on their way, WebSockets among them. */
	readonly size: number;
	/** Ends what has no end of its own: WebSockets and streams of events, whose clients connect again. */
	endStreams(): void;
	/** Ends everything, and begins nothing more. */
	close(): void;
}

/**
 * What a browser would run, or lay over a page, in the name of who asked for it. No page of ours asks for any,
 * and the API's own pages are nobody: they send no session.
 */
const CODE = new Set([
	"audioworklet",
	"embed",
	"manifest",
	"object",
	"paintworklet",
	"script",
	"serviceworker",
	"sharedworker",
	"style",
	"worker",
	"xslt",
]);

const isCode = ({ req: { headers } }: Allowed): boolean =>
	CODE.has(String(headers["sec-fetch-dest"])) || headers["service-worker"] !== undefined;

export function openInference(options: InferenceOptions): Inference {
	const { stack, transfers, patience, most = MOST } = options;
	const api = options.api === undefined ? undefined : new Api(options.api, patience);
	const refuse = refuser(stack);
	const requests = new Places(most.requests);
	const tunnels = new Places(most.tunnels);
	const running = new Set<Watched & { readonly endless: boolean }>();
	let closed = false;

	function begin(allowed: Allowed, api: Api): void {
		const { upgrade, identity, res } = allowed;
		if (closed) return refuse(allowed, "API_UNAVAILABLE");
		const leave = (upgrade === undefined ? requests : tunnels).take(identity.credential);
		if (leave === undefined) return refuse(allowed, "API_BUSY");
		const one =
			upgrade === undefined ? new Exchange(allowed, api, refuse) : new Tunnel(allowed, upgrade, api, refuse);
		running.add(one);
		transfers.watch(res, one);
		res.once("close", () => {
			running.delete(one);
			leave();
		});
		void one.start();
	}

	return {
		get size() {
			return running.size;
		},
		isThere: async () => api === undefined || (await api.isThere()),
		endStreams() {
			for (const one of running) if (one.endless) one.end("API_UNAVAILABLE");
		},
		close() {
			closed = true;
			for (const one of running) one.end("API_UNAVAILABLE");
		},
		answer(allowed) {
			const { req, res, target, upgrade } = allowed;
			if (allowed.route.class !== "inference") return false;
			if (target.path === BARE) {
				const query = target.query === "" ? "" : `?${target.query}`;
				redirect(req, res, PREFIX + query);
			} else if (api === undefined) refuse(allowed, "API_NONE");
			else if (isCode(allowed)) refuse(allowed, "API_NO_CODE");
			else if (upgrade !== undefined && !mayOpen(allowed)) refuse(allowed, "CSRF_ORIGIN");
			else begin(allowed, api);
			return true;
		},
	};
}
