"""The process that touches what others made: asks the tracking server, downloads artifacts and checks them.

It reads one JSON request a line from its standard input and writes JSON answers, one a line, to its standard output:

    {"do": "look"}                                -> {"found": <version> | null} or {"unavailable": "<why>"}
    {"do": "load", "version": "3", "folder": ...} -> {"phase": "check"} when the download is complete, then
                                                     {"loaded": <summary>}, {"refused": "<why>"}
                                                     or {"unavailable": "<why>"}

After a load it ends: the next artifact meets a fresh process. It also ends when its standard input does, that is with
the server. A load leaves in `folder` what word2vec.convert writes.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from dataclasses import asdict
from pathlib import Path

from flavor.settings import MEBIBYTE, Settings, read_settings

#: Address space of the interpreter with MLflow and numpy loaded is 350 MiB, most of it never touched.
_ADDRESS_SPACE = 640 * MEBIBYTE
#: Seconds of processor time that one download and check may take.
_LOAD_CPU_SECONDS = 60


def _limit(settings: Settings) -> None:
    """Limits that hold before anything foreign is read. The kernel keeps them, whatever a library does."""
    memory = _ADDRESS_SPACE + 3 * settings.artifact_bytes
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    # The largest file is the artifact or, a header longer, the matrix made from it.
    largest = settings.artifact_bytes + 4096
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Whoever must die when the container runs out of memory: this process, never the server.
    with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write("1000")


def _limit_processor_time() -> None:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    limit = int(usage.ru_utime + usage.ru_stime) + _LOAD_CPU_SECONDS
    resource.setrlimit(resource.RLIMIT_CPU, (limit, limit))


def main() -> None:
    settings = read_settings(os.environ)
    _limit(settings)
    # Libraries print; what they say belongs to the log, the answers have the pipe for themselves.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def answer(**document) -> None:
        print(json.dumps(document), file=answers, flush=True)

    # Takes a second or two, and everything above must hold before.
    from mlflow.tracking import MlflowClient

    from flavor import tracking
    from flavor.version import Refused, Unavailable
    from flavor.word2vec import BadArtifact, convert

    client = MlflowClient()
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if request["do"] == "look":
                found = tracking.version_in_stage(client, settings.model, settings.stage)
                answer(found=asdict(found) if found else None)
                continue
            folder = Path(request["folder"])
            _limit_processor_time()
            path = tracking.download(
                client, settings.tracking_uri, settings.model, request["version"], folder, settings.artifact_bytes
            )
            answer(phase="check")
            summary = convert(path, folder, settings.artifact_bytes, settings.golden)
            answer(loaded=asdict(summary))
        except (Refused, BadArtifact) as error:
            answer(refused=str(error))
        except Unavailable as error:
            answer(unavailable=str(error))
        except OSError as error:
            # No space left for what the check writes, for example.
            answer(unavailable=str(error))
        except MemoryError:
            answer(refused="checking it needs more memory than the limit allows")
        if request["do"] == "load":
            return


if __name__ == "__main__":
    main()
