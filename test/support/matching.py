"""Says which route of the MLflow that is installed here each request would run: gunicorn's own parser on the
bytes, gunicorn's own environment, Werkzeug's own matching, and the path that MLflow's artifact code makes of it.

Reads one `METHOD target` a line, as JSON, and writes one JSON value a line: {"rule", "path"}, or the name of what
it answers instead.
"""

import io
import json
import sys

from gunicorn.config import Config
from gunicorn.http.message import Request
from gunicorn.http.unreader import IterUnreader
from gunicorn.http.wsgi import create
from mlflow.server import app
from werkzeug.exceptions import HTTPException
from werkzeug.routing import RequestRedirect


class Socket:
    def getsockname(self):
        return ("127.0.0.1", 5000)


config = Config()
config.set("limit_request_line", 8190)


def route_of(method, target):
    head = f"{method} {target} HTTP/1.1\r\nHost: mlflow\r\n\r\n".encode("latin-1")
    try:
        request = Request(config, IterUnreader(iter([head])), ("127.0.0.1", 1), 1)
    except Exception as error:
        return f"gunicorn: {type(error).__name__}"
    _, environ = create(request, Socket(), ("127.0.0.1", 1), ("127.0.0.1", 5000), config)
    try:
        rule, args = app.url_map.bind_to_environ(environ).match(return_rule=True)
    except RequestRedirect:
        return "redirect"
    except HTTPException as error:
        return error.code
    return {"rule": rule.rule, "path": next(iter(args.values()), None)}


for line in sys.stdin:
    method, target = json.loads(line)
    sys.stdout.write(json.dumps(route_of(method, target)) + "\n")
