/** Artifacts at the door: which requests are theirs, and on whose behalf parts of uploads arrive. */
import { refuse } from "../answer.ts";
import type { Allowed, Answerer } from "../answerer.ts";
import type { Authority, Identity } from "../authority.ts";
import type { DoorErrorCode } from "../errors.ts";
import type { Transfers, Watched } from "../forward/transfers.ts";
import { TWINS } from "../routes/classes.ts";
import type { Route } from "../routes/match.ts";
import { perRoute } from "../routes/per-route.ts";
import type { SignedRoute } from "../signed.ts";
import type { ArtifactKind, Artifacts } from "./index.ts";
import { PART_PATH } from "./tickets.ts";

/** By method and whole rule, then by method and rule below a twin. */
const PLAIN: Readonly<Record<string, ArtifactKind>> = {
	"GET /get-artifact": "run-artifact",
	"HEAD /get-artifact": "run-artifact",
	"GET /model-versions/get-artifact": "version-artifact",
	"HEAD /model-versions/get-artifact": "version-artifact",
};
const REST: Readonly<Record<string, ArtifactKind>> = {
	"GET /mlflow/artifacts/list": "run-list",
	"GET /mlflow-artifacts/artifacts": "list",
	"GET /mlflow-artifacts/artifacts/<path:artifact_path>": "download",
	"HEAD /mlflow-artifacts/artifacts/<path:artifact_path>": "download",
	"PUT /mlflow-artifacts/artifacts/<path:artifact_path>": "upload",
	"DELETE /mlflow-artifacts/artifacts/<path:artifact_path>": "delete",
	"POST /mlflow-artifacts/mpu/create/<path:artifact_path>": "mpu-create",
	"POST /mlflow-artifacts/mpu/complete/<path:artifact_path>": "mpu-complete",
	"POST /mlflow-artifacts/mpu/abort/<path:artifact_path>": "mpu-abort",
};

const KINDS: ReadonlyMap<string, ArtifactKind> = new Map([
	...Object.entries(PLAIN),
	...Object.entries(REST).flatMap(([key, kind]) => {
		const [method = "", rule = ""] = key.split(" ");
		return TWINS.map((twin): [string, ArtifactKind] => [`${method} ${twin}${rule}`, kind]);
	}),
]);

/** A part of an upload: what the begin of it needed, too. */
const PART_ROUTE: Route = {
	method: "PUT",
	rule: PART_PATH,
	class: "write",
	needs: "editor",
	answer: undefined,
	body: undefined,
	query: undefined,
};

const kindOf = perRoute((route: Route): ArtifactKind | undefined =>
	route === PART_ROUTE ? "mpu-part" : KINDS.get(`${route.method} ${route.rule}`),
);

/** Whoever changes these may change where the artifacts of a version lie. */
const REGISTRY = /\/mlflow\/(?:registered-models|model-versions)\//;
const changesRegistry = perRoute(
	(route: Route): boolean => route.class !== "read" && REGISTRY.test(route.rule),
);

/** A request that the artifacts answer, for those who look whether it may go on. */
class Running implements Watched {
	readonly #allowed: Allowed;
	readonly #ending = new AbortController();
	/** The artifacts look after idle clients themselves. */
	readonly waitingSince = undefined;

	constructor(allowed: Allowed) {
		this.#allowed = allowed;
	}

	get identity(): Identity {
		return this.#allowed.identity;
	}

	get signal(): AbortSignal {
		return this.#ending.signal;
	}

	end(code: DoorErrorCode): void {
		if (this.signal.aborted) return;
		this.#ending.abort();
		const { req, res, refused } = this.#allowed;
		if (!res.headersSent) refused(code);
		refuse(req, res, code);
	}
}

export function artifactsAnswerer(artifacts: Artifacts, transfers: Pick<Transfers, "watch">): Answerer {
	async function serve(kind: ArtifactKind, allowed: Allowed): Promise<boolean> {
		const { req, res, target, facts, identity, refused } = allowed;
		const running = new Running(allowed);
		const unwatch = transfers.watch(res, running);
		const outcome = await artifacts.handle(req, res, {
			kind,
			path: target.path.slice(target.prefix?.length ?? 0),
			query: new URLSearchParams(target.query),
			signal: running.signal,
			origin: facts.origin,
			owner: ownerOf(identity),
			refused,
		});
		if (outcome === "handled" || running.signal.aborted) return true;
		unwatch();
		return false;
	}

	return (allowed) => {
		const { res, route } = allowed;
		if (changesRegistry(route)) {
			// What is looked up while it changes is looked up again.
			artifacts.forgetVersions();
			res.once("close", () => artifacts.forgetVersions());
		}
		const kind = kindOf(route);
		return kind !== undefined && serve(kind, allowed);
	};
}

/** A ticket is for one thing, whatever else its owner may do. */
const ownerOf = (identity: Identity): string => JSON.stringify({ ...identity, role: PART_ROUTE.needs });

/** The way in for parts: their ticket is their credential, as long as the one it was given to still stands. */
export function partRoute(
	artifacts: Artifacts,
	authority: Pick<Authority, "stillValid">,
): [path: string, route: SignedRoute] {
	const route: SignedRoute = {
		route: PART_ROUTE,
		identify(query) {
			const ticket = artifacts.ticket(query);
			if (ticket === undefined) return { ok: false, presented: true, reason: "UPLOAD_TICKET" };
			const identity = JSON.parse(ticket.owner) as Identity;
			return authority.stillValid(identity)
				? { ok: true, identity }
				: { ok: false, presented: true, reason: "CREDENTIAL_ENDED" };
		},
	};
	return [PART_PATH, route];
}
