"""Makes a worker ready before it takes its first request.

MLflow makes its stores and its S3 client when they are first asked for, without a lock: with threads, two first
requests would make two. And its own patience with a database that is away (15 tries, doubling up to 27 minutes)
looks like a hang; ours does not.
"""

import os

import schema


def up():
    schema.wait_for_database(os.environ["MLFLOW_BACKEND_STORE_URI"])

    from mlflow.server import handlers
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    store = handlers._get_tracking_store()
    if not isinstance(store, SqlAlchemyStore):
        raise RuntimeError(f"MLflow took {type(store).__name__} for its store, not the database")
    handlers._get_model_registry_store()
    handlers._get_artifact_repo_mlflow_artifacts()._get_s3_client()
