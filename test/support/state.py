"""Says what MLflow holds, for each line that it reads: one JSON object with a digest of every table of its database
and of the list of objects in its bucket. Runs in MLflow's own container, with MLflow's own rights.
"""

import hashlib
import json
import os
import sys

import boto3
import psycopg2

database = psycopg2.connect(os.environ["MLFLOW_BACKEND_STORE_URI"])
database.autocommit = True
bucket = boto3.resource("s3", endpoint_url=os.environ["MLFLOW_S3_ENDPOINT_URL"]).Bucket("mlflow")


def digest(lines):
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


for _ in sys.stdin:
    state = {}
    with database.cursor() as cursor:
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
        for (table,) in cursor.fetchall():
            cursor.execute(f'SELECT t::text FROM "{table}" t')
            rows = sorted(row for (row,) in cursor.fetchall())
            state[table] = f"{len(rows)} {digest(rows)}"
    objects = sorted(f"{o.key} {o.e_tag} {o.size}" for o in bucket.objects.all())
    state["objects"] = f"{len(objects)} {digest(objects)}"
    print(json.dumps(state), flush=True)
