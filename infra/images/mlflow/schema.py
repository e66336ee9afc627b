"""The database schema step, run once before the server: `python schema.py`.

A fresh database gets MLflow's tables and its default experiment, so that two workers do not race for them. A
database at the image's own revision is left alone. Any other is refused: a migration needs a backup first and a
person who wants it, and is a command of its own.

Exit codes: 0 ready, 64 refused.
"""

import os
import sys
import time

import psycopg2
import sqlalchemy

# What MLflow's first step makes, before any revision is recorded. A start that was killed there left these, empty.
FIRST_TABLES = {"experiments", "runs", "tags", "metrics", "params"}


def say(text):
    print(f"mlgate: {text}", file=sys.stderr, flush=True)


def wait_for_database(uri):
    """Returns when the database answers; says every half minute why it does not."""
    url = sqlalchemy.engine.make_url(uri)
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.pool.NullPool, connect_args={"connect_timeout": 5})
    said = None
    while True:
        try:
            with engine.connect() as connection:
                connection.execute(sqlalchemy.text("SELECT 1"))
            return engine
        except (sqlalchemy.exc.SQLAlchemyError, psycopg2.Error) as error:
            if said is None or time.monotonic() - said > 30:
                said = time.monotonic()
                say(f"waiting for the database: {str(error).splitlines()[0]}")
            time.sleep(1)


def verdict(engine, head):
    """What to do with the database: `ready`, `fresh`, or a sentence that says why it is refused."""
    inspector = sqlalchemy.inspect(engine)
    tables = set(inspector.get_table_names())
    with engine.connect() as connection:

        def rows(table):
            return connection.execute(sqlalchemy.text(f"SELECT count(*) FROM {table}")).scalar()

        recorded = "alembic_version" in tables and rows("alembic_version") > 0
        if recorded:
            revision = connection.execute(sqlalchemy.text("SELECT version_num FROM alembic_version")).scalar()
            if revision == head:
                return "ready"
            return (
                f"the database is at schema revision {revision}, this image needs {head}. "
                "Run the image that wrote it, or upgrade the database on purpose after a backup"
            )
        tables -= {"alembic_version"}
        foreign = tables - FIRST_TABLES
        if foreign:
            return f"the database is not empty and has no schema revision; it holds {', '.join(sorted(foreign))}"
        filled = [table for table in sorted(tables) if rows(table) > 0]
        if filled:
            return f"the database has no schema revision, but data in {', '.join(filled)}"
        return "fresh"


def prepare(uri, artifact_root):
    """Ends with a database that the server can use; `SystemExit(64)` if it must not be touched."""
    engine = wait_for_database(uri)
    # Slow imports, and nothing of MLflow is needed while the database is away.
    from mlflow.store.db import utils
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    head = utils._get_latest_schema_revision()
    found = verdict(engine, head)
    if found == "fresh":
        say(f"making the tables of a new database, schema revision {head}")
        utils._initialize_tables(engine)
    elif found != "ready":
        say(f"refusing to start: {found}")
        raise SystemExit(64)
    # Makes the default experiment if there is none.
    SqlAlchemyStore(uri, artifact_root)
    say(f"database ready, schema revision {head}")


if __name__ == "__main__":
    prepare(os.environ["MLFLOW_BACKEND_STORE_URI"], os.environ["_MLFLOW_SERVER_ARTIFACT_ROOT"])
