"""Says what the MLflow that is installed here reads out of each request: its own handlers' parsing, on Flask's own
request. Reads one JSON array a line, [method, rule, query, body in base64], and writes one JSON object a line.
"""

import base64
import json
import sys

from google.protobuf.json_format import MessageToDict
from mlflow.protos.model_registry_pb2 import CreateModelVersion, SearchModelVersions
from mlflow.protos.service_pb2 import CreateExperiment, GetMetricHistoryBulkInterval, SearchRuns
from mlflow.server import app
from mlflow.server.handlers import _get_request_message

MESSAGES = {
    "experiments/create": CreateExperiment,
    "model-versions/create": CreateModelVersion,
    "runs/search": SearchRuns,
    "model-versions/search": SearchModelVersions,
    "metrics/get-history-bulk-interval": GetMetricHistoryBulkInterval,
}

for line in sys.stdin:
    method, path, query, body = json.loads(line)
    kwargs = {} if method == "GET" else {"data": base64.b64decode(body), "content_type": "application/json"}
    with app.test_request_context(
        f"/api/2.0/mlflow/{path}", method=method, query_string=query, **kwargs
    ):
        try:
            message = _get_request_message(MESSAGES[path]())
            said = MessageToDict(message, preserving_proto_field_name=True)
        except Exception as error:
            said = {"refused": type(error).__name__}
    sys.stdout.write(json.dumps(said) + "\n")
