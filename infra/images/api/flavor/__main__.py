"""Starts the service. Everything is set by environment variables, see `settings`."""

from __future__ import annotations

import logging
import os
import resource
import signal
import sys


def _stop_early(_signal: int, _frame: object) -> None:
    raise SystemExit(0)


def main() -> None:
    # As process 1 of a container nothing stops us before a handler is there, and imports take a second.
    signal.signal(signal.SIGTERM, _stop_early)

    import uvicorn

    from flavor.app import create_app
    from flavor.crew import Crew
    from flavor.follower import Follower
    from flavor.settings import BadSettings, read_settings

    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        settings = read_settings(os.environ)
    except BadSettings as error:
        print(f"mlgate: refusing to start:\n{error}", file=sys.stderr)
        raise SystemExit(64) from None
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    follower = Follower(Crew(settings), settings.stage, settings.poll_seconds)
    uvicorn.run(
        create_app(settings, follower),
        host="0.0.0.0",
        port=settings.port,
        log_config=None,
        log_level="warning",
        # The door and /metrics know the requests; here they would fill the log with what people looked for.
        access_log=False,
        ws="none",
        server_header=False,
        # Nobody in front of us is to be believed about addresses, and nothing here needs one.
        proxy_headers=False,
        # Longer than a proxy keeps idle connections: the one who asks closes first.
        timeout_keep_alive=75,
        timeout_graceful_shutdown=10,
    )


if __name__ == "__main__":
    main()
