/**
 * What the houses agree on: part names, networks, ports, labels and the paths inside containers.
 * This is the one module that infra/, proxy/, ops/ and test/ all import. It holds names, no behaviour.
 */

/** Pulumi project name. Configuration keys read `mlgate:<key>`. */
export const PROJECT = "mlgate";

/** The parts of a stack, in the order in which they start. They stop in reverse. */
export const PARTS = ["postgres", "minio", "mlflow", "door", "api", "tailscale"] as const;
export type Part = (typeof PARTS)[number];

/** Parts that run only if the settings say so. */
export const OPTIONAL_PARTS: ReadonlySet<Part> = new Set<Part>(["tailscale"]);

/**
 * Images made by mlgate itself. The keeper is no part: it serves nothing and stays through `down`. Nor is the
 * courier: a container that is made and never started, through which secret files reach a part's volume.
 */
export const IMAGES = [...PARTS, "keeper", "courier"] as const;
export type Image = (typeof IMAGES)[number];

/**
 * The networks of a stack. `internal` ones have no way out, and the host has no address on them.
 * `clients` is internal because Docker publishes a container's port on its alphabetically first network
 * that has a way out: with two of them `localhost:5000` would arrive at the clients' listener.
 */
export const NETWORKS = {
	edge: { internal: false },
	clients: { internal: true },
	serve: { internal: true },
	data: { internal: true },
	ident: { internal: true },
	uplink: { internal: false },
	/** The API's own way out, used if the settings say so. Nobody else is on it. */
	egress: { internal: false },
} as const;
export type NetworkName = keyof typeof NETWORKS;

/** The door's listeners, one for each of these networks. */
export const LISTENERS = ["edge", "clients", "serve", "ident"] as const satisfies readonly NetworkName[];
export type Listener = (typeof LISTENERS)[number];

/** Labels on everything that a stack owns on the host. Values: config name, part, "true". */
export const LABEL = { stack: "mlgate.stack", part: "mlgate.part", data: "mlgate.data" } as const;

/**
 * On the keeper alone, which outlives everything but the data: where the stack is typed and how it is set up, for the
 * day when the checkout has lost its files. `settings`: JSON, without secrets.
 */
export const ORIGIN_LABEL = {
	checkout: "mlgate.checkout",
	stack: "mlgate.pulumi-stack",
	settings: "mlgate.settings",
} as const;

/** Ports inside the containers. Only the door's `edge` listener is published, on the host's loopback. */
export const PORT = {
	door: 5000,
	metrics: 9464,
	mlflow: 5000,
	postgres: 5432,
	minio: 9000,
	api: 8000,
	/** Of the node in the tailnet, and of the public URL: one of the three that Funnel serves. */
	funnel: 8443,
} as const;

/**
 * DNS names inside the networks. MLflow's container is `tracking` on `data`: the name `mlflow` belongs to
 * the door on `clients` and `serve`, and a container on several networks must not find two of them.
 */
export const ALIAS = {
	postgres: "postgres",
	minio: "minio",
	mlflow: "tracking",
	/** The inference API on `serve`. */
	api: "api",
	/** The door's own name on each network; it binds a listener to the address behind it. */
	door: (network: NetworkName) => `door-${network}`,
	/** The node of the tailnet on `ident`. */
	tailscale: "tailscale",
	/** What clients on `clients` and `serve` call the door. */
	tracking: "mlflow",
} as const;

/**
 * The app capability by which a grant in the tailnet's policy gives a role at the door. Under a domain that is nobody's,
 * so that no other app's is called the same.
 */
export const ROLE_CAPABILITY = "mlgate.internal/cap/mlgate";

/** The user ids the containers run as. */
export const UID = {
	postgres: 10001,
	minio: 10002,
	mlflow: 10003,
	door: 10004,
	keeper: 10005,
	api: 10006,
	tailscale: 10007,
} as const;

/**
 * Weights where processors are short, beside Docker's own 1024: whoever moves large files waits for whoever asks
 * something small, and not the other way round.
 */
export const CPU_SHARES: { readonly minio: number } & Readonly<Partial<Record<Part, number>>> = {
	minio: 128,
};

/** Data volumes: losing one of them loses runs, sign-ins, or the public name and its certificate. Locked from the first `up`, held by the keeper. */
export const DATA_VOLUMES = ["postgres", "minio", "door", "tailscale"] as const;
export type DataVolume = (typeof DATA_VOLUMES)[number];

/** Paths inside containers. */
export const PATH = {
	/** Where each data volume is mounted in its part. */
	data: {
		postgres: "/var/lib/postgresql/data",
		minio: "/var/lib/minio",
		door: "/var/lib/door",
		tailscale: "/var/lib/tailscale",
	},
	/** One small volume a part: secret files, mode 0400, owned by the part's user. */
	secrets: "/run/secrets",
	/** MLflow spools whole artifacts here. */
	scratch: "/var/tmp/mlflow",
	controlSocket: "/run/mlgate/control.sock",
	/** Whoever has it has the node; it stays in its container. */
	tailscaleSocket: "/tmp/tailscaled.sock",
	/** The door writes the API's service token here, and the API reads it: a volume of its own. */
	service: "/run/mlgate-service",
} as const;

/** Files in `PATH.secrets`, by part. */
export const SECRET_FILE = {
	postgres: { mlflow: "mlflow-password", door: "door-password" },
	minio: { mlflow: "mlflow-secret-key", door: "door-secret-key" },
	/** `database`: a libpq passfile. `store`: an AWS shared-credentials file. */
	mlflow: { database: "pgpass", store: "aws-credentials" },
	door: { database: "database-password", store: "store-secret-key" },
	/** `serve`: what the node does with connections; no secret, but read from a folder as the key is. */
	tailscale: { authKey: "auth-key", serve: "serve.json" },
} as const;

/** Files in `PATH.service`, mode 0444, replaced as a whole. `netrc`: what stock clients read by themselves. */
export const SERVICE_FILE = { token: "token", netrc: "netrc" } as const;

/** The bucket of tracked artifacts, and the users and databases of the stores. */
export const STORE = { bucket: "mlflow", users: { mlflow: "mlflow", door: "door" } } as const;
export const DATABASE = { mlflow: "mlflow", door: "door" } as const;

/** Host names of things: `<name>-<part>`, `<name>-<network>`, `<name>-<volume>-data`, ... */
export const hostName = {
	container: (name: string, part: Part | "keeper") => `${name}-${part}`,
	/** Stands in for a part while it is started anew. */
	candidate: (name: string, part: Part) => `${name}-${part}-candidate`,
	courier: (name: string, part: Part) => `${name}-${part}-courier`,
	network: (name: string, network: NetworkName) => `${name}-${network}`,
	dataVolume: (name: string, volume: DataVolume) => `${name}-${volume}-data`,
	secretsVolume: (name: string, part: Part) => `${name}-${part}-secrets`,
	serviceVolume: (name: string) => `${name}-service`,
	scratchVolume: (name: string) => `${name}-mlflow-scratch`,
} as const;

/** The version of MLflow that the stack runs and the route map was made from. */
export const MLFLOW_VERSION = "2.13.0";
