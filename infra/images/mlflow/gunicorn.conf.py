"""How gunicorn serves MLflow. Every number can be set by the environment; `serve.py` has checked them."""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

bind = "0.0.0.0:5000"

# Threads, because MLflow spools whole artifacts: with sync workers four downloads stop everything else.
worker_class = "gthread"
workers = int(os.environ["MLFLOW_WORKERS"])
threads = int(os.environ["MLFLOW_THREADS"])

# A worker whose main loop hangs is killed after this. Requests of any length run in threads and are not touched.
timeout = int(os.environ["MLFLOW_TIMEOUT"])
# At a stop, running requests get this long. Workers are not recycled by count: that would cut longer downloads.
graceful_timeout = int(os.environ["MLFLOW_GRACE"])
# Longer than the door keeps an idle connection, so that it is never the server that closes first.
keepalive = int(os.environ["MLFLOW_KEEP_ALIVE"])

# A chart of 98 or more runs asks with a line beyond gunicorn's 4094 bytes. The door bounds lines; here they are free.
limit_request_line = 0

# The heartbeat file of a worker must not wait for a disk.
worker_tmp_dir = "/dev/shm"
errorlog = "-"


def post_worker_init(worker):
    import warm

    warm.up()
