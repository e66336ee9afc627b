import { describe, expect, it } from "vitest";
import { OpsError } from "../../../ops/lib/errors.ts";
import type { EngineError } from "../../../ops/lib/stack/events.ts";
import { asOpsError } from "../../../ops/lib/stack/failures.ts";
import { PulumiFailure } from "../../../ops/lib/stack/pulumi.ts";

const CONTEXT = {
	checkout: "/c",
	stack: "local",
	doing: "bring the stack up",
	interrupted: false,
	stackName: "mlgate",
};

function problem(said: {
	stderr?: string;
	errors?: EngineError[];
	interrupted?: boolean;
}): OpsError["problem"] {
	const { stderr = "", errors = [], interrupted = false } = said;
	const error = asOpsError(new PulumiFailure("up", "", stderr), { ...CONTEXT, errors, interrupted });
	if (error instanceof OpsError) return error.problem;
	throw error;
}

const PREFIX = "  sdk-v2/provider2.go:571: sdk.helper_schema: ";

/** What was really printed, seen with Engine 20.10 and Pulumi 3.259; of Tailscale's API, as others have reported it. */
const SAID: [string, string, string, EngineError[] | string][] = [
	[
		"PASSPHRASE_WRONG",
		"precondition",
		"",
		"error: getting stack configuration: get stack secrets manager: incorrect passphrase\n",
	],
	[
		"PORT_IN_USE",
		"precondition",
		"5001",
		[
			{
				resource: "door",
				message: `${PREFIX}Unable to start container: Error response from daemon: driver failed programming external connectivity on endpoint mlgate-door (f03c): Error starting userland proxy: listen tcp4 127.0.0.1:5001: bind: address already in use: provider=docker@5.2.0`,
			},
			{ message: "update failed" },
		],
	],
	[
		"PORT_IN_USE",
		"precondition",
		"5001",
		[{ resource: "door", message: "Bind for 127.0.0.1:5001 failed: port is already allocated" }],
	],
	[
		"NAME_TAKEN",
		"precondition",
		"mlgate-minio",
		[
			{
				resource: "minio",
				message: `1 error occurred:\n\t* Unable to create container: Error response from daemon: Conflict. The container name "/mlgate-minio" is already in use by container "abc". You have to remove (or rename) that container to be able to reuse that name.`,
			},
		],
	],
	[
		"NAME_TAKEN",
		"precondition",
		"mlgate-data",
		[
			{
				resource: "data",
				message:
					"Unable to create network: Error response from daemon: network with name mlgate-data already exists",
			},
		],
	],
	[
		"TAILNET_TAG_REFUSED",
		"precondition",
		"tag:mlflow-gateway",
		[
			{
				resource: "tailscale-key",
				message: `${PREFIX}Failed to create key: requested tags [tag:mlflow-gateway] are invalid or not permitted (400): provider=tailscale@0.29.1`,
			},
			{ message: "update failed" },
		],
	],
	[
		"TAILNET_KEY_REFUSED",
		"precondition",
		"funnel.credentials",
		[
			{
				resource: "tailscale-key",
				message:
					"Failed to create key: calling actor does not have enough permissions to perform this function (403)",
			},
		],
	],
	[
		"IMAGE_MISSING",
		"precondition",
		"mlgate-mlflow:0a9f7f53f640 is",
		[
			{
				resource: "mlflow-image",
				message: `${PREFIX}Unable to read Docker image into resource: unable to pull image mlgate-mlflow:0a9f7f53f640: error pulling image mlgate-mlflow:0a9f7f53f640: Error response from daemon: Get "https://registry-1.docker.io/v2/": dial tcp: no such host`,
			},
		],
	],
	[
		"PLUGIN_MISSING",
		"precondition",
		"provider",
		[
			{
				message:
					"could not load provider for resource urn:x: no resource plugin 'pulumi-resource-docker' found in the workspace at version v5.2.0 or on your $PATH",
			},
		],
	],
	[
		"ENGINE_AWAY",
		"precondition",
		"engine",
		[
			{
				message: `${PREFIX}failed to create Docker client: Error pinging Docker server, please make sure that unix:///x.sock is reachable. Error: Cannot connect to the Docker daemon at unix:///x.sock. Is the docker daemon running?`,
			},
		],
	],
	[
		"PULUMI_LOCKED",
		"locked",
		"local",
		"error: the stack is currently locked by 1 lock(s). Either wait for the other process(es) to end\n",
	],
	[
		"DATA_PROTECTED",
		"dataRisk",
		"data volume",
		[
			{
				resource: "postgres-data",
				message: 'unable to replace resource "urn:x"\nas it is currently marked for protection.',
			},
		],
	],
	[
		"PART_UNHEALTHY",
		"unhealthy",
		"mlflow",
		[
			{
				resource: "mlflow",
				message: `${PREFIX}container failed to be in healthy state: provider=docker@5.2.0`,
			},
		],
	],
	[
		"NETWORK_IN_USE",
		"precondition",
		"mlgate-clients",
		[
			{
				resource: "clients",
				message: `${PREFIX}timeout while waiting for state to become 'removed' (last state: 'pending', timeout: 30s)`,
			},
		],
	],
	[
		"VOLUME_IN_USE",
		"precondition",
		"mlgate-minio-secrets",
		[
			{
				resource: "minio-secrets",
				message: "timeout while waiting for state to become 'removed' (last state: 'in_use', timeout: 30s)",
			},
		],
	],
	[
		"ADDRESSES_USED_UP",
		"precondition",
		"addresses",
		[
			{
				resource: "edge",
				message:
					"Error response from daemon: could not find an available, non-overlapping IPv4 address pool among the defaults to assign to the network",
			},
		],
	],
	[
		"ADDRESSES_USED_UP",
		"precondition",
		"addresses",
		[{ message: "all predefined address pools have been fully subnetted" }],
	],
	["DISK_FULL", "precondition", "full", [{ message: "write /var/lib/docker/x: no space left on device" }]],
	[
		"SECRETS_MISSING",
		"precondition",
		"local",
		[{ message: "Missing required configuration variable 'mlgate:secret.postgres-mlflow'" }],
	],
];

describe("what went wrong", () => {
	it.each(SAID)("%s (%s) is told by what was said", (code, kind, named, said) => {
		const found = problem(typeof said === "string" ? { stderr: said } : { errors: said });
		expect(found).toMatchObject({ code, kind });
		expect(found.what).toContain(named);
		expect(found.fix).not.toBe("");
		expect(found.why).not.toMatch(/provider2\.go|provider=docker|^\s|error occurred/);
	});

	it("is the last cause where nobody knows it, without what says nothing", () => {
		expect(
			problem({
				errors: [
					{ resource: "minio", message: "first" },
					{
						resource: "door",
						message: `error: 1 error occurred:\n\t* something odd: provider=docker@5.2.0\n`,
					},
					{ message: "update failed" },
				],
			}),
		).toEqual({
			code: "PULUMI_FAILED",
			kind: "internal",
			what: "Could not bring the stack up.",
			why: "door: something odd",
			fix: "Look into the log of this command, mend the cause, then run it again.",
		});
	});

	it("is the interruption, whatever else was said", () => {
		expect(problem({ interrupted: true, errors: [{ message: "no space left on device" }] })).toMatchObject({
			code: "INTERRUPTED",
			kind: "interrupted",
		});
	});

	it("is left as it is if it did not come from Pulumi", () => {
		const other = new TypeError("x is not a function");
		expect(asOpsError(other, CONTEXT)).toBe(other);
		const known = new OpsError({ code: "X", kind: "usage", what: "x", fix: "y" });
		expect(asOpsError(known, { ...CONTEXT, interrupted: true })).toBe(known);
	});
});
