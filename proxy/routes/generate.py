"""Prints every route of the MLflow server that is installed here, as JSON.

Run it inside the MLflow image and keep the output beside this file as mlflow-<version>.json:

    python generate.py > mlflow-2.13.0.json

The door knows no other routes. A route that appears here without a class in classes.ts stays shut, and
a test fails until it has one.
"""

import json
import sys

from mlflow.server import app
from mlflow.version import VERSION

methods_of = {}
for rule in app.url_map.iter_rules():
    methods_of.setdefault(rule.rule, set()).update(rule.methods)

routes = [{"rule": rule, "methods": sorted(methods)} for rule, methods in sorted(methods_of.items())]
lines = ",\n".join(f"\t\t{json.dumps(route)}" for route in routes)
sys.stdout.write(f'{{\n\t"mlflow": {json.dumps(VERSION)},\n\t"routes": [\n{lines}\n\t]\n}}\n')
