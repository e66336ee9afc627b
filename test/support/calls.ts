/**
 * For every route of MLflow a request that it would carry out: with things that exist, for bodies that would change
 * something. Whoever is refused one of them is refused because of who he is.
 */
import type { Call, Caller } from "./caller.ts";

/** What one twin's requests are about. Each thing that goes away is there for one request alone. */
export interface Things {
	twin: string;
	/** In every name. */
	mark: string;
	experiment: { main: string; goes: string; gone: string };
	run: { main: string; goes: string; gone: string };
	/** Names. `main` has the versions 1 to 3. */
	model: { main: string; renamed: string; goes: string };
	/** Multipart uploads under way below `parts/`. */
	upload: { complete: { id: string; etag: string }; abort: { id: string } };
}

type Json = Readonly<Record<string, unknown>>;

const json = (method: string, target: string, body: Json): Call => ({
	method,
	target,
	headers: { "content-type": "application/json" },
	body: JSON.stringify(body),
});

const query = (target: string, parameters: Readonly<Record<string, string>>): string =>
	`${target}?${new URLSearchParams(parameters)}`;

/** Makes everything that the requests are about. */
export async function makeThings(caller: Caller, admin: string, twin: string, mark: string): Promise<Things> {
	const api = "/api/2.0/mlflow";
	// biome-ignore lint/suspicious/noExplicitAny: MLflow's answers
	const ask = async (call: Call): Promise<any> => {
		const said = await caller.say(call, admin);
		if (said.status !== 200)
			throw new Error(`${call.method} ${call.target}: ${said.status} ${said.body.toString()}`);
		return said.headers["content-type"]?.includes("json") ? JSON.parse(said.body.toString()) : said;
	};
	const post = (path: string, body: Json) => ask(json("POST", api + path, body));
	const experiment = async (name: string): Promise<string> =>
		(await post("/experiments/create", { name: `${mark} ${name}` })).experiment_id;
	const experiments = {
		main: await experiment("main"),
		goes: await experiment("goes"),
		gone: await experiment("gone"),
	};
	await post("/experiments/delete", { experiment_id: experiments.gone });
	const run = async (name: string): Promise<string> =>
		(
			await post("/runs/create", {
				experiment_id: experiments.main,
				run_name: name,
				start_time: 1_700_000_000_000,
			})
		).run.info.run_id;
	const runs = { main: await run("main"), goes: await run("goes"), gone: await run("gone") };
	await post("/runs/delete", { run_id: runs.gone });
	await post("/runs/log-metric", { run_id: runs.main, key: "loss", value: 0.5, timestamp: 1, step: 1 });
	await post("/runs/log-parameter", { run_id: runs.main, key: "window", value: "5" });
	await post("/runs/set-tag", { run_id: runs.main, key: "tag goes", value: "x" });
	await post("/runs/log-inputs", {
		run_id: runs.main,
		datasets: [
			{
				dataset: { name: "d", digest: "1", source_type: "t", source: "s", schema: "", profile: "" },
				tags: [],
			},
		],
	});
	const artifacts = `/api/2.0/mlflow-artifacts/artifacts/${experiments.main}/${runs.main}/artifacts`;
	for (const [name, body] of Object.entries({
		"a.txt": "hello",
		"goes.txt": "goes",
		"m/MLmodel": "flavors: {}",
	})) {
		await ask({ method: "PUT", target: `${artifacts}/${name}`, body });
	}
	const models = { main: `${mark} model`, renamed: `${mark} old name`, goes: `${mark} model goes` };
	for (const name of Object.values(models)) await post("/registered-models/create", { name });
	await post("/registered-models/set-tag", { name: models.main, key: "tag goes", value: "x" });
	for (const _ of [1, 2, 3]) {
		await post("/model-versions/create", {
			name: models.main,
			source: `mlflow-artifacts:/${experiments.main}/${runs.main}/artifacts/m`,
			run_id: runs.main,
		});
	}
	await post("/model-versions/set-tag", { name: models.main, version: "1", key: "tag goes", value: "x" });
	for (const alias of ["stays", "goes"]) {
		await post("/registered-models/alias", { name: models.main, alias, version: "1" });
	}
	const parts = `/api/2.0/mlflow-artifacts/mpu/create/${experiments.main}/${runs.main}/artifacts/parts`;
	const begin = async (file: string) => await ask(json("POST", parts, { path: file, num_parts: 1 }));
	const complete = await begin("complete.bin");
	const { pathname, search } = new URL(complete.credentials[0].url);
	const part = await caller.say({ method: "PUT", target: pathname + search, body: "one part" }, null);
	return {
		twin,
		mark,
		experiment: experiments,
		run: runs,
		model: models,
		upload: {
			complete: { id: complete.upload_id, etag: String(part.headers.etag) },
			abort: { id: (await begin("abort.bin")).upload_id },
		},
	};
}

/** By method and rule below a twin, as `proxy/routes/classes.ts` has them. */
const restCalls = ({
	twin,
	mark,
	experiment,
	run,
	model,
	upload,
}: Things): Readonly<Record<string, Call>> => {
	const api = `${twin}/mlflow`;
	const get = (path: string, parameters: Readonly<Record<string, string>>): Call => ({
		method: "GET",
		target: query(api + path, parameters),
	});
	const send = (method: string, path: string, body: Json): Call => json(method, api + path, body);
	const version = { name: model.main, version: "1" };
	const folder = `${experiment.main}/${run.main}/artifacts`;
	const artifact = (method: string, name: string, body?: string): Call => ({
		method,
		target: `${twin}/mlflow-artifacts/artifacts/${folder}/${name}`,
		body,
	});
	const multipart = (step: string, body: Json): Call =>
		json("POST", `${twin}/mlflow-artifacts/mpu/${step}/${folder}/parts`, body);
	return {
		"GET /mlflow/experiments/get": get("/experiments/get", { experiment_id: experiment.main }),
		"GET /mlflow/experiments/get-by-name": get("/experiments/get-by-name", {
			experiment_name: `${mark} main`,
		}),
		"GET /mlflow/experiments/search": get("/experiments/search", { max_results: "1000", view_type: "ALL" }),
		"POST /mlflow/experiments/search": send("POST", "/experiments/search", { max_results: 1000 }),
		"POST /mlflow/experiments/create": send("POST", "/experiments/create", { name: `${mark} created` }),
		"POST /mlflow/experiments/update": send("POST", "/experiments/update", {
			experiment_id: experiment.main,
			new_name: `${mark} renamed`,
		}),
		"POST /mlflow/experiments/set-experiment-tag": send("POST", "/experiments/set-experiment-tag", {
			experiment_id: experiment.main,
			key: "k",
			value: "v",
		}),
		"POST /mlflow/experiments/delete": send("POST", "/experiments/delete", {
			experiment_id: experiment.goes,
		}),
		"POST /mlflow/experiments/restore": send("POST", "/experiments/restore", {
			experiment_id: experiment.gone,
		}),

		"GET /mlflow/runs/get": get("/runs/get", { run_id: run.main }),
		"POST /mlflow/runs/search": send("POST", "/runs/search", { experiment_ids: [experiment.main] }),
		"GET /mlflow/artifacts/list": get("/artifacts/list", { run_id: run.main }),
		"GET /mlflow/metrics/get-history": get("/metrics/get-history", { run_id: run.main, metric_key: "loss" }),
		"GET /mlflow/metrics/get-history-bulk-interval": get("/metrics/get-history-bulk-interval", {
			run_ids: run.main,
			metric_key: "loss",
			max_results: "320",
		}),
		"POST /mlflow/runs/create": send("POST", "/runs/create", {
			experiment_id: experiment.main,
			start_time: 1,
		}),
		"POST /mlflow/runs/update": send("POST", "/runs/update", {
			run_id: run.main,
			status: "FINISHED",
			end_time: 2,
		}),
		"POST /mlflow/runs/log-metric": send("POST", "/runs/log-metric", {
			run_id: run.main,
			key: "acc",
			value: 1,
			timestamp: 1,
		}),
		"POST /mlflow/runs/log-parameter": send("POST", "/runs/log-parameter", {
			run_id: run.main,
			key: "p",
			value: "1",
		}),
		"POST /mlflow/runs/log-batch": send("POST", "/runs/log-batch", {
			run_id: run.main,
			params: [{ key: "q", value: "1" }],
		}),
		"POST /mlflow/runs/log-model": send("POST", "/runs/log-model", {
			run_id: run.main,
			model_json: JSON.stringify({
				run_id: run.main,
				artifact_path: "m",
				utc_time_created: "2026-01-01 00:00:00",
				flavors: { python_function: {} },
			}),
		}),
		"POST /mlflow/runs/log-inputs": send("POST", "/runs/log-inputs", {
			run_id: run.main,
			datasets: [{ dataset: { name: "e", digest: "2", source_type: "t", source: "s" }, tags: [] }],
		}),
		"POST /mlflow/runs/set-tag": send("POST", "/runs/set-tag", { run_id: run.main, key: "k", value: "v" }),
		"POST /mlflow/runs/delete-tag": send("POST", "/runs/delete-tag", { run_id: run.main, key: "tag goes" }),
		"POST /mlflow/runs/delete": send("POST", "/runs/delete", { run_id: run.goes }),
		"POST /mlflow/runs/restore": send("POST", "/runs/restore", { run_id: run.gone }),

		"GET /mlflow/traces": { method: "GET", target: `${api}/traces?experiment_ids=${experiment.main}` },
		"GET /mlflow/traces/{request_id}/info": { method: "GET", target: `${api}/traces/{request_id}/info` },
		"POST /mlflow/traces": send("POST", "/traces", { experiment_id: experiment.main, timestamp_ms: 1 }),
		"PATCH /mlflow/traces/{request_id}": send("PATCH", "/traces/{request_id}", { request_id: "x" }),
		"PATCH /mlflow/traces/{request_id}/tags": send("PATCH", "/traces/{request_id}/tags", {
			key: "k",
			value: "v",
		}),
		"DELETE /mlflow/traces/{request_id}/tags": send("DELETE", "/traces/{request_id}/tags", { key: "k" }),
		"POST /mlflow/traces/delete-traces": send("POST", "/traces/delete-traces", {
			experiment_id: experiment.main,
			max_timestamp_millis: 9,
		}),

		"GET /mlflow/registered-models/get": get("/registered-models/get", { name: model.main }),
		"GET /mlflow/registered-models/search": get("/registered-models/search", { max_results: "1000" }),
		"GET /mlflow/registered-models/get-latest-versions": get("/registered-models/get-latest-versions", {
			name: model.main,
		}),
		"POST /mlflow/registered-models/get-latest-versions": send(
			"POST",
			"/registered-models/get-latest-versions",
			{ name: model.main },
		),
		"GET /mlflow/registered-models/alias": get("/registered-models/alias", {
			name: model.main,
			alias: "stays",
		}),
		"POST /mlflow/registered-models/create": send("POST", "/registered-models/create", {
			name: `${mark} created`,
		}),
		"POST /mlflow/registered-models/rename": send("POST", "/registered-models/rename", {
			name: model.renamed,
			new_name: `${mark} new name`,
		}),
		"PATCH /mlflow/registered-models/update": send("PATCH", "/registered-models/update", {
			name: model.main,
			description: "d",
		}),
		"POST /mlflow/registered-models/set-tag": send("POST", "/registered-models/set-tag", {
			name: model.main,
			key: "k",
			value: "v",
		}),
		"POST /mlflow/registered-models/alias": send("POST", "/registered-models/alias", {
			...version,
			alias: "set",
		}),
		"DELETE /mlflow/registered-models/delete-tag": send("DELETE", "/registered-models/delete-tag", {
			name: model.main,
			key: "tag goes",
		}),
		"DELETE /mlflow/registered-models/alias": send("DELETE", "/registered-models/alias", {
			name: model.main,
			alias: "goes",
		}),
		"DELETE /mlflow/registered-models/delete": send("DELETE", "/registered-models/delete", {
			name: model.goes,
		}),

		"GET /mlflow/model-versions/get": get("/model-versions/get", version),
		"GET /mlflow/model-versions/search": get("/model-versions/search", { filter: `name='${model.main}'` }),
		"GET /mlflow/model-versions/get-download-uri": get("/model-versions/get-download-uri", version),
		"POST /mlflow/model-versions/create": send("POST", "/model-versions/create", {
			name: model.main,
			source: `runs:/${run.main}/m`,
			run_id: run.main,
		}),
		"PATCH /mlflow/model-versions/update": send("PATCH", "/model-versions/update", {
			...version,
			description: "d",
		}),
		"POST /mlflow/model-versions/transition-stage": send("POST", "/model-versions/transition-stage", {
			...version,
			stage: "Staging",
			archive_existing_versions: false,
		}),
		"POST /mlflow/model-versions/set-tag": send("POST", "/model-versions/set-tag", {
			...version,
			key: "k",
			value: "v",
		}),
		"DELETE /mlflow/model-versions/delete-tag": send("DELETE", "/model-versions/delete-tag", {
			...version,
			key: "tag goes",
		}),
		"DELETE /mlflow/model-versions/delete": send("DELETE", "/model-versions/delete", {
			name: model.main,
			version: "3",
		}),

		"GET /mlflow-artifacts/artifacts": {
			method: "GET",
			target: query(`${twin}/mlflow-artifacts/artifacts`, { path: folder }),
		},
		"GET /mlflow-artifacts/artifacts/<path:artifact_path>": artifact("GET", "a.txt"),
		"PUT /mlflow-artifacts/artifacts/<path:artifact_path>": artifact("PUT", "a.txt", "overwritten"),
		"DELETE /mlflow-artifacts/artifacts/<path:artifact_path>": artifact("DELETE", "goes.txt"),
		"POST /mlflow-artifacts/mpu/create/<path:artifact_path>": multipart("create", {
			path: "new.bin",
			num_parts: 1,
		}),
		"POST /mlflow-artifacts/mpu/complete/<path:artifact_path>": multipart("complete", {
			path: "complete.bin",
			upload_id: upload.complete.id,
			parts: [{ part_number: 1, etag: upload.complete.etag }],
		}),
		"POST /mlflow-artifacts/mpu/abort/<path:artifact_path>": multipart("abort", {
			path: "abort.bin",
			upload_id: upload.abort.id,
		}),
	};
};

/** By method and whole rule. */
const plainCalls = ({ experiment, run, model }: Things): Readonly<Record<string, Call>> => {
	const ajax = "/ajax-api/2.0/mlflow";
	return {
		"GET /": { method: "GET", target: "/" },
		"GET /static-files/<path:path>": { method: "GET", target: "/static-files/manifest.json" },
		"GET /health": { method: "GET", target: "/health" },
		"GET /build/<path:filename>": { method: "GET", target: "/build/manifest.json" },
		"GET /version": { method: "GET", target: "/version" },
		"GET /graphql": { method: "GET", target: "/graphql" },
		"POST /graphql": json("POST", "/graphql", {
			query:
				"query q($input: MlflowGetRunInput!) { mlflowGetRun(input: $input) { run { info { runId runName } } } }",
			variables: { input: { runId: run.main } },
		}),
		"GET /get-artifact": {
			method: "GET",
			target: query("/get-artifact", { path: "a.txt", run_uuid: run.main }),
		},
		"GET /model-versions/get-artifact": {
			method: "GET",
			target: query("/model-versions/get-artifact", { path: "MLmodel", name: model.main, version: "1" }),
		},
		[`GET ${ajax}/metrics/get-history-bulk`]: {
			method: "GET",
			target: query(`${ajax}/metrics/get-history-bulk`, { run_id: run.main, metric_key: "loss" }),
		},
		[`POST ${ajax}/experiments/search-datasets`]: json("POST", `${ajax}/experiments/search-datasets`, {
			experiment_ids: [experiment.main],
		}),
		[`POST ${ajax}/runs/create-promptlab-run`]: json("POST", `${ajax}/runs/create-promptlab-run`, {
			experiment_id: experiment.main,
			prompt_template: "say {{ x }}",
			prompt_parameters: [{ key: "x", value: "y" }],
			model_route: "r",
			model_parameters: [{ key: "t", value: "1" }],
			model_input: "say y",
			model_output: "y",
			model_output_parameters: [],
			mlflow_version: "2.13.0",
			user_id: "u",
		}),
		[`POST ${ajax}/upload-artifact`]: {
			method: "POST",
			target: query(`${ajax}/upload-artifact`, { run_uuid: run.main, path: "from-a-page.json" }),
			headers: { "content-type": "application/json" },
			body: '{"a":1}',
		},
		[`GET ${ajax}/gateway-proxy`]: {
			method: "GET",
			target: query(`${ajax}/gateway-proxy`, { gateway_path: "api/2.0/endpoints/other" }),
		},
		[`POST ${ajax}/gateway-proxy`]: json("POST", `${ajax}/gateway-proxy`, {
			gateway_path: "api/2.0/endpoints/",
			json_data: {},
		}),
	};
};

/** @returns the requests by method and whole rule */
export function callsOf(things: readonly Things[]): ReadonlyMap<string, Call> {
	const [first] = things;
	return new Map([
		...things.flatMap((of) =>
			Object.entries(restCalls(of)).map(([key, call]): [string, Call] => {
				const [method = "", rule = ""] = key.split(" ");
				return [`${method} ${of.twin}${rule}`, call];
			}),
		),
		...(first === undefined ? [] : Object.entries(plainCalls(first))),
	]);
}
