/** Which parts behind the door a request needs, by its route. What is held is decided by this table alone. */
import { belowTwin } from "../routes/classes.ts";
import type { Route } from "../routes/match.ts";
import { perRoute } from "../routes/per-route.ts";

/** The parts that ops can have the door hold requests for. */
export const HELD_PARTS = ["postgres", "minio", "mlflow", "api"] as const;
export type HeldPart = (typeof HELD_PARTS)[number];

/** The door's own way to the database. MLflow's may be well while it is not, and then only creates wait. */
export const OWN_DATABASE = "door-database";
/** Whatever requests can wait for. */
export type AwaitedPart = HeldPart | typeof OWN_DATABASE;

type Needs = readonly HeldPart[];

const API: Needs = ["api"];
/** Artifacts that go between client and store without anybody's help. */
const STORE: Needs = ["minio"];
/** What MLflow answers without looking anything up. */
const SERVER: Needs = ["mlflow"];
const DATA: Needs = ["mlflow", "postgres"];
/** Artifacts whose place MLflow must be asked for, or that it moves itself. */
const BOTH: Needs = ["mlflow", "postgres", "minio"];

/** By method and whole rule; a HEAD needs what its GET needs. */
const PLAIN: Readonly<Record<string, Needs>> = {
	"GET /": SERVER,
	"GET /version": SERVER,
	"GET /health": SERVER,
	"GET /static-files/<path:path>": SERVER,
	"GET /get-artifact": BOTH,
	"GET /model-versions/get-artifact": BOTH,
	"POST /ajax-api/2.0/mlflow/upload-artifact": BOTH,
	"POST /ajax-api/2.0/mlflow/runs/create-promptlab-run": BOTH,
	/** The door's own, for parts of multipart uploads. */
	"PUT /door/artifact-part": STORE,
};

/** By method and rule below a twin. */
const REST: Readonly<Record<string, Needs>> = {
	"GET /mlflow/artifacts/list": BOTH,
	"GET /mlflow-artifacts/artifacts": STORE,
	"GET /mlflow-artifacts/artifacts/<path:artifact_path>": STORE,
	"PUT /mlflow-artifacts/artifacts/<path:artifact_path>": STORE,
	"DELETE /mlflow-artifacts/artifacts/<path:artifact_path>": STORE,
	"POST /mlflow-artifacts/mpu/create/<path:artifact_path>": STORE,
	"POST /mlflow-artifacts/mpu/complete/<path:artifact_path>": STORE,
	"POST /mlflow-artifacts/mpu/abort/<path:artifact_path>": STORE,
};

/** What a request of this route needs. Whatever no table names, MLflow answers from its database. */
export const needsOf = perRoute(
	({ method, rule, class: routeClass }: Pick<Route, "method" | "rule" | "class">): Needs => {
		if (routeClass === "inference") return API;
		const verb = method === "HEAD" ? "GET" : method;
		return PLAIN[`${verb} ${rule}`] ?? REST[`${verb} ${belowTwin(rule) ?? rule}`] ?? DATA;
	},
);
