/** nginx in one process: as the stub that answers at once, and as a proxy that asks a verifier. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Child, Children } from "../frame/children.ts";

/** So that nobody's connections are closed in the middle of a measurement. */
const ENDLESS = "keepalive_requests 1000000000; keepalive_timeout 600s;";

function nginx(children: Children, folder: string, name: string, http: string): Child {
	const home = join(folder, name.replaceAll(" ", "-"));
	mkdirSync(home);
	const file = join(home, "nginx.conf");
	const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(
		(what) => `${what}_temp_path ${home}/${what};`,
	);
	writeFileSync(
		file,
		`daemon off; master_process off; pid ${home}/pid; error_log ${home}/error.log error;
events { worker_connections 4096; }
http { access_log off; ${ENDLESS} ${temporary.join(" ")} ${http} }
`,
	);
	return children.start(`nginx as ${name}`, ["/usr/sbin/nginx", "-c", file, "-e", `${home}/error.log`]);
}

/** Answers every request with the same small JSON. */
export const stub = (children: Children, folder: string, port: number, body: string): Child =>
	nginx(
		children,
		folder,
		"the stub",
		`server { listen 127.0.0.1:${port}; location / { default_type application/json; return 200 '${body}'; } }`,
	);

/** @param app port of what stands behind it; @param verifier port of who knows the tokens */
export const gatekeeper = (
	children: Children,
	folder: string,
	port: number,
	app: number,
	verifier: number,
): Child =>
	nginx(
		children,
		folder,
		`the proxy before ${app}`,
		`upstream app { server 127.0.0.1:${app}; keepalive 64; ${ENDLESS} }
upstream verifier { server 127.0.0.1:${verifier}; keepalive 64; ${ENDLESS} }
proxy_http_version 1.1; proxy_set_header Connection "";
server {
	listen 127.0.0.1:${port};
	location / { auth_request /verify; proxy_pass http://app; }
	location = /verify { internal; proxy_pass_request_body off; proxy_set_header Content-Length ""; proxy_pass http://verifier; }
}`,
	);
