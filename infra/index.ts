/**
 * What runs: the Pulumi program of a stack. `npm start` runs it inline; the official CLI finds it by Pulumi.yaml.
 *   host's loopback --(edge)--> door --(data)--> mlflow, minio, postgres
 *   other containers --(clients)--'  '--(serve)--> api, which finds MLflow through the door alone
 *   tailnet, Funnel --(uplink)--> tailscale --(ident)--> door, if the settings say so
 */
import { Api } from "./api.ts";
import { apiSettings } from "./api-settings.ts";
import { configuration } from "./configuration.ts";
import { hostName, type Part } from "./contract.ts";
import { Door, doorSettings } from "./door.ts";
import { Funnel } from "./funnel.ts";
import { Minio } from "./minio.ts";
import { Mlflow, mlflowSettings } from "./mlflow.ts";
import { createNetworks } from "./networks.ts";
import { Postgres, postgresSettings } from "./postgres.ts";
import { joinKey } from "./tailnet-key.ts";
import { createVolumes } from "./volumes.ts";

/** @param optional what is there of the parts that not every stack has (to put back what was); not said: by the settings. */
export default async function program(optional?: ReadonlySet<Part>) {
	const { settings, stackName, passwords, identities, secretEnv, joining } = configuration();
	const networks = createNetworks(stackName);
	const { data, service } = createVolumes(stackName);
	const inside = { stackName, network: networks.data };
	const postgres = new Postgres({
		...inside,
		...postgresSettings(settings),
		data: data.postgres,
		identity: identities.postgres,
		passwords: passwords.postgres,
	});
	const minio = new Minio({
		...inside,
		memory: settings["minio.memory"],
		data: data.minio,
		identity: identities.minio,
		passwords: passwords.minio,
	});
	const mlflow = new Mlflow({
		...inside,
		...mlflowSettings(settings),
		passwords: { database: passwords.postgres.mlflow, store: passwords.minio.mlflow },
		after: [postgres, minio],
	});
	const door = new Door({
		stackName,
		...doorSettings(settings),
		networks,
		data: data.door,
		service,
		passwords: { database: passwords.postgres.door, store: passwords.minio.door },
		after: [postgres, minio, mlflow],
	});
	new Api({ stackName, ...apiSettings(settings), secretEnv, networks, service, after: [door] });
	const funnel = optional?.has("tailscale") ?? settings.funnel === "on";
	const authKey = funnel ? await joinKey(joining, stackName, settings) : undefined;
	if (funnel) new Funnel({ stackName, settings, authKey, networks, data, after: [door] });
	return { url: `http://localhost:${settings.port}`, clientsNetwork: hostName.network(stackName, "clients") };
}
