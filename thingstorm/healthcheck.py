"""What a container's health check runs: asks one address, exits 0 if it answers 200. Standard library only.

    python3 -m thingstorm.healthcheck http://127.0.0.1:8082/healthz

The address is the first argument, else the environment's `THINGSTORM_HEALTHCHECK`. What is wrong is printed, so
that the container's engine can show it.
"""

import json
import os
import sys
import urllib.error
import urllib.request

TIMEOUT_SECONDS = 2.5


def main() -> int:
    """0 if healthy, 1 if not."""
    url = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("THINGSTORM_HEALTHCHECK", "")
    if not url.startswith("http"):
        print(f"no address to ask: '{url}'; fix: set THINGSTORM_HEALTHCHECK")  # noqa: T201 - this is the output
        return 1
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS):  # noqa: S310 - checked above
            return 0
    except urllib.error.HTTPError as error:
        print(_why(error.read()) or f"{url} answered {error.code}")  # noqa: T201 - likewise
    except OSError as error:
        print(f"{url} does not answer: {error}")  # noqa: T201 - likewise
    return 1


def _why(body: bytes) -> str:
    """The details of the services that are not ready."""
    try:
        services = json.loads(body)["services"]
    except (ValueError, KeyError, TypeError):
        return ""
    return "; ".join(f"{one['name']}: {one['detail']}" for one in services if one["state"] != "ready")


if __name__ == "__main__":
    sys.exit(main())
