"""Known weaknesses of everything that uv.lock holds: pip-audit, and no silence about what could not be looked up.

Exit codes: 0 nothing known, 1 something is known, 3 the advisory service did not answer for some of the packages.
Words after the script go to pip-audit.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

AUDIT = ["pip-audit", "--require-hashes", "--disable-pip", "--progress-spinner", "off", "--format", "json"]


def main() -> int:
    """The requirements that uv exported come from standard input."""
    requirements = sys.stdin.read()
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as file:
        file.write(requirements)
        file.flush()
        words = [*AUDIT, *sys.argv[1:], "-r", file.name]
        done = subprocess.run(words, capture_output=True, text=True, check=False)  # noqa: S603 - our own words
    try:
        found: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        return _unanswered(done.stderr.strip().splitlines()[-1:] or ["no answer"])
    weak = [(one, flaw) for one in found for flaw in one.get("vulns", ())]
    for one, flaw in weak:
        mended = ", ".join(flaw["fix_versions"]) or "no version yet"
        print(f"{one['name']} {one['version']}: {flaw['id']}, mended in {mended}")
    unknown = [one["name"] for one in found if "skip_reason" in one]
    if len(unknown) < len(found):
        print(f"{len(found)} packages: {len(found) - len(unknown)} looked up, {len(weak)} known weaknesses")
    if weak:
        return 1
    return _unanswered([f"{len(unknown)} of {len(found)} are unknown to it"]) if unknown else 0


def _unanswered(why: list[str]) -> int:
    print(f"error: the advisory service could not be asked: {why[0]}", file=sys.stderr)
    print(
        "fix: run it where that service can be reached, or ask another: make audit AUDIT_SERVICE=osv",
        file=sys.stderr,
    )
    return 3


if __name__ == "__main__":
    sys.exit(main() if Path("uv.lock").exists() else 2)
