"""How many of something a test tries: in every run as many as find mistakes, with THINGSTORM_SIZES=full all of them."""

import os

FULL = os.environ.get("THINGSTORM_SIZES") == "full"


def size(usual: int, *, full: int) -> int:
    """`make full-sizes` runs the tests that ask here."""
    return full if FULL else usual
