"""Keeps MLflow's scratch folder bounded.

MLflow spools whole artifacts into temporary folders: every look at an artifact in its UI leaves one behind, and so
does every client that hangs up and every worker that is killed. What no process holds open and nobody touched for a
while is such an orphan. Over the limit the oldest go first, at once.

Only the standard library, no import of MLflow: it runs in process 1.
"""

import os
import shutil
import sys
import threading
import time
from dataclasses import dataclass

# Even over the limit: between making a folder and opening a file in it MLflow holds nothing open.
GRACE_SECONDS = 60
INTERVAL_SECONDS = 30


@dataclass(frozen=True)
class Entry:
    """A file or folder directly in the scratch folder."""

    path: str
    size: int  # bytes on disk, everything below included
    touched: float  # newest modification below it, seconds since the epoch
    held: bool  # some process has something of it open


def open_paths(proc="/proc"):
    """The paths that processes hold open, as far as this user may look."""
    paths = set()
    for pid in filter(str.isdigit, os.listdir(proc)):
        try:
            for fd in os.scandir(f"{proc}/{pid}/fd"):
                try:
                    paths.add(os.readlink(fd.path))
                except OSError:
                    pass  # closed meanwhile
        except OSError:
            pass  # gone meanwhile, or somebody else's
    return paths


def measure(path):
    """(bytes on disk, newest modification) of a file or a tree; what vanishes meanwhile does not count."""
    size, touched = 0, 0.0
    todo = [path]
    while todo:
        current = todo.pop()
        try:
            stat = os.lstat(current)
            size += stat.st_blocks * 512
            touched = max(touched, stat.st_mtime)
            if os.path.isdir(current) and not os.path.islink(current):
                todo.extend(os.path.join(current, name) for name in os.listdir(current))
        except FileNotFoundError:
            pass
    return size, touched


def look(root):
    """The entries of the scratch folder."""
    # Listed before the look at the processes: what is made and opened in between is not on the list.
    paths = [os.path.join(root, name) for name in os.listdir(root)]
    opened = open_paths()
    return [
        Entry(path, *measure(path), any(p == path or p.startswith(path + "/") for p in opened))
        for path in paths
    ]


def choose(found, *, now, max_age, limit, grace=GRACE_SECONDS):
    """The entries to remove: orphans by age, and over `limit` bytes the oldest orphans until it fits."""
    orphans = sorted((e for e in found if not e.held), key=lambda e: e.touched)
    total = sum(e.size for e in found)
    chosen = []
    for entry in orphans:
        age = now - entry.touched
        if age >= max_age or (total > limit and age >= grace):
            chosen.append(entry)
            total -= entry.size
    return chosen


def remove(entry):
    if os.path.isdir(entry.path) and not os.path.islink(entry.path):
        shutil.rmtree(entry.path)
    else:
        os.unlink(entry.path)


def sweep(root, *, max_age, limit, grace=GRACE_SECONDS):
    """Removes orphans once. Returns (bytes removed, bytes left); what cannot be removed is said and stays."""
    found = look(os.path.realpath(root))
    removed = 0
    for entry in choose(found, now=time.time(), max_age=max_age, limit=limit, grace=grace):
        try:
            remove(entry)
            removed += entry.size
        except FileNotFoundError:
            pass
        except OSError as error:
            say(f"cannot remove {entry.path}: {error}")
    return removed, sum(e.size for e in found) - removed


def say(text):
    print(f"mlgate: scratch: {text}", file=sys.stderr, flush=True)


def report(removed, left, limit):
    mib = 1024 * 1024
    if removed:
        say(f"removed {removed // mib} MiB of orphans, {left // mib} MiB left")
    if left > limit:
        say(f"{left // mib} MiB are in use or too young to go, above the limit of {limit // mib} MiB")


def run(root, *, max_age, limit, interval=INTERVAL_SECONDS):
    """Sweeps for ever in a thread of its own. One failing round never ends it."""

    def rounds():
        while True:
            time.sleep(interval)
            try:
                report(*sweep(root, max_age=max_age, limit=limit), limit)
            except Exception as error:
                say(f"this round failed: {error!r}")

    threading.Thread(target=rounds, name="sweeper", daemon=True).start()
