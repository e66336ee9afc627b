"""Healthy: MLflow answers a question that it has to ask its database."""

import json
import sys
import urllib.request

URL = "http://127.0.0.1:5000/api/2.0/mlflow/experiments/search?max_results=1"

try:
    with urllib.request.urlopen(URL, timeout=8) as response:
        experiments = json.load(response)["experiments"]
except Exception as error:  # whatever it is, it is the reason why the part is unhealthy
    sys.exit(f"{URL}: {error}")
if not experiments:
    sys.exit("MLflow knows no experiment, not even its default one")
