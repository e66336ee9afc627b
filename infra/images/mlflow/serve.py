"""Process 1 of the MLflow container: checks the settings, prepares the database, runs gunicorn and the sweeper,
passes signals on and reaps.

gunicorn is started here and not by `mlflow server`, which would stay beside it with all of MLflow in memory and
would not pass a stop on. The variables `_MLFLOW_SERVER_*` are what `mlflow server` hands to its workers.

Only the standard library: this process lives as long as the container.
"""

import os
import signal
import sys

import sweeper

HERE = os.path.dirname(os.path.abspath(__file__))
PYTHON = "/opt/mlflow/bin/python"
SCRATCH = os.environ["TMPDIR"]
MIB = 1024 * 1024

# name: (default, least)
NUMBERS = {
    "MLFLOW_WORKERS": (2, 1),
    "MLFLOW_THREADS": (8, 1),
    "MLFLOW_TIMEOUT": (600, 30),
    "MLFLOW_GRACE": (50, 1),
    "MLFLOW_KEEP_ALIVE": (75, 1),
    "MLFLOW_SCRATCH_LIMIT_MB": (10240, 1),
    "MLFLOW_SCRATCH_MINUTES": (15, 1),
}
NEEDED = ("MLFLOW_BACKEND_STORE_URI", "AWS_SHARED_CREDENTIALS_FILE")


def refuse(reasons):
    for reason in reasons:
        print(f"mlgate: refusing to start: {reason}", file=sys.stderr, flush=True)
    sys.exit(64)


def settings(env):
    """The numbers by name; refuses with every bad value at once."""
    numbers, bad = {}, [f"{name} is not set" for name in NEEDED if not env.get(name)]
    for name, (default, least) in NUMBERS.items():
        text = env.get(name, str(default))
        if text.isdecimal() and int(text) >= least:
            numbers[name] = int(text)
        else:
            bad.append(f"{name} must be a whole number of at least {least}, not {text!r}")
    credentials = env.get("AWS_SHARED_CREDENTIALS_FILE")
    if credentials and not os.access(credentials, os.R_OK):
        bad.append(f"the secret file {credentials} cannot be read")
    if not os.access(SCRATCH, os.W_OK):
        bad.append(f"the scratch folder {SCRATCH} is not writable for uid {os.getuid()}")
    if bad:
        refuse(bad)
    return numbers


def server_environment(env, numbers):
    """What gunicorn, the schema step and MLflow's workers get."""
    threads = str(numbers["MLFLOW_THREADS"])
    uri = env["MLFLOW_BACKEND_STORE_URI"]
    return {
        # A thread never waits for a connection: as many are kept as there are threads, and as many again may be
        # opened for the calls that use two. MLflow answers an exhausted pool with a 400 that no client retries.
        "MLFLOW_SQLALCHEMYSTORE_POOL_SIZE": threads,
        "MLFLOW_SQLALCHEMYSTORE_MAX_OVERFLOW": threads,
        "MLFLOW_SQLALCHEMYSTORE_POOL_RECYCLE": "3600",
        **env,
        **{name: str(value) for name, value in numbers.items()},
        "_MLFLOW_SERVER_FILE_STORE": uri,
        "_MLFLOW_SERVER_REGISTRY_STORE": uri,
        "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
        "_MLFLOW_SERVER_ARTIFACT_DESTINATION": "s3://mlflow",
        "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
    }


class Child:
    """The one process that is running for us, and the stop that may come at any moment."""

    def __init__(self):
        self.pid = None
        self.stopping = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self.stop)

    def stop(self, *_):
        self.stopping = True
        if self.pid:
            os.kill(self.pid, signal.SIGTERM)

    def run(self, argv, env):
        """Runs to the end; gives the exit code, or 128 + the signal."""
        if self.stopping:
            return 0
        self.pid = os.posix_spawn(argv[0], argv, env)
        if self.stopping:
            self.stop()
        while True:
            # Whatever loses its parent in this container falls to process 1, and is reaped here.
            pid, status = os.waitpid(-1, 0)
            if pid == self.pid:
                self.pid = None
                code = os.waitstatus_to_exitcode(status)
                return 128 - code if code < 0 else code


def main():
    child = Child()
    numbers = settings(os.environ)
    env = server_environment(os.environ, numbers)
    limit = numbers["MLFLOW_SCRATCH_LIMIT_MB"] * MIB

    # Nothing of ours runs yet: whatever lies there was left by a container that is gone.
    sweeper.report(*sweeper.sweep(SCRATCH, max_age=0, limit=limit, grace=0), limit)
    if os.environ.get("MLGATE_MIGRATE") != "0":
        code = child.run([PYTHON, f"{HERE}/schema.py"], env)
        if code != 0 or child.stopping:
            return 0 if child.stopping else code
    sweeper.run(SCRATCH, max_age=numbers["MLFLOW_SCRATCH_MINUTES"] * 60, limit=limit)
    code = child.run([PYTHON, "-m", "gunicorn", "-c", f"{HERE}/gunicorn.conf.py", "mlflow.server:app"], env)
    return 0 if child.stopping else code


if __name__ == "__main__":
    sys.exit(main())
