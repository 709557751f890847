"""docs/licences.md: the licence of everything that an installation with all extras brings.

Without an argument it writes the page; with `--check` it holds the page against this environment, and every licence against those
that a program under Apache-2.0 may be shipped with. Exit codes: 0 as it should be, 1 not.
"""

import re
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PAGE = Path(__file__).resolve().parents[1] / "docs/licences.md"

CLASSIFIERS = {
    "MIT License": "MIT",
    "BSD License": "BSD-3-Clause",
    "Apache Software License": "Apache-2.0",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "ISC License (ISCL)": "ISC",
    "Python Software Foundation License": "PSF-2.0",
    "zlib/libpng License": "Zlib",
    "Zope Public License": "ZPL-2.1",
}
WORDS = {
    "MIT License": "MIT",
    "Apache 2.0": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "Apache License, Version 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD": "BSD-3-Clause",
    "BSD License": "BSD-3-Clause",
    "3-Clause BSD License": "BSD-3-Clause",
    "BSD 3-Clause License": "BSD-3-Clause",
    "ZPL 2.1": "ZPL-2.1",
}
SHIPPABLE = {
    "0BSD", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CNRI-Python",
    "EPL-2.0", "HPND", "ISC", "MIT", "MIT-0", "MIT-CMU", "MPL-2.0", "PSF-2.0", "Unlicense", "Unicode-3.0", "ZPL-2.1", "Zlib", "bzip2-1.0.6", "libpng-2.0", "NCSA", "CC0-1.0",
}  # fmt: skip
"""Permissive ones, and the weak copyleft that binds a library's own files alone."""

HEAD = """# Licences

What `pip install thingstorm` with all its extras brings, with the licence that each package states itself: made by `make licences` on Linux
and Python 3.11, checked by a test. thingstorm itself is under Apache-2.0. An AWS emulator, a broker or a browser that you run beside it has its own.

| package | version | licence |
|---|---|---|
"""


def main() -> int:
    """Write, or check."""
    rows = {name: (found.version, licence(found)) for name, found in sorted(closure("thingstorm").items())}
    flaws = [
        f"{name}: {told or 'states no licence'}" for name, (_, told) in rows.items() if not may_ship(told)
    ]
    lines = {name: f"| {name} | {version} | {told} |" for name, (version, told) in rows.items()}
    if "--check" in sys.argv:
        page = PAGE.read_text(encoding="utf-8").splitlines()
        flaws += [
            f"{name}: not as docs/licences.md has it" for name, line in lines.items() if line not in page
        ]
    else:
        PAGE.write_text(HEAD + "\n".join(lines.values()) + "\n", encoding="utf-8")
    for flaw in flaws:
        print(f"error: {flaw}", file=sys.stderr)
    if flaws:
        print("fix: make licences; a licence that may not be shipped needs another package", file=sys.stderr)
    return 1 if flaws else 0


def closure(name: str) -> dict[str, metadata.Distribution]:
    """What this environment needs for the package with all its extras, without itself."""
    found: dict[str, metadata.Distribution] = {}
    todo = [(name, frozenset(metadata.metadata(name).get_all("Provides-Extra") or ()))]
    seen = set()
    while todo:
        one = todo.pop()
        if one in seen:
            continue
        seen.add(one)
        found[canonicalize_name(one[0])] = metadata.distribution(one[0])
        todo += [(canonicalize_name(need.name), frozenset(need.extras)) for need in _needs(*one)]
    return {key: value for key, value in found.items() if key != name}


def _needs(name: str, extras: frozenset[str]) -> Iterator[Requirement]:
    for text in metadata.requires(name) or ():
        need = Requirement(text)
        places = [{**default_environment(), "extra": extra} for extra in ("", *extras)]
        if need.marker is None or any(need.marker.evaluate(place) for place in places):
            yield need


def licence(found: metadata.Distribution) -> str:
    """As an SPDX expression; "" if the package states none that we know."""
    told = found.metadata
    if expression := told.get("License-Expression"):
        return str(expression)
    word = (told.get("License") or "").strip().partition("\n")[0]
    if WORDS.get(word, word) in SHIPPABLE:
        return WORDS.get(word, word)
    kinds = [
        one.rpartition(" :: ")[2] for one in told.get_all("Classifier") or () if one.startswith("License ::")
    ]
    known = sorted({CLASSIFIERS[kind] for kind in kinds if kind in CLASSIFIERS})
    return " OR ".join(known) or _by_text(found) or word[:60]


def _by_text(found: metadata.Distribution) -> str:
    texts = [file for file in found.files or () if re.search(r"(?i)licen[cs]e|copying", file.name)]
    for file in texts:
        text = " ".join(Path(str(file.locate())).read_text(encoding="utf-8", errors="replace").split())
        for words, name in (
            ("Permission is hereby granted, free of charge", "MIT"),
            ("Apache License Version 2.0", "Apache-2.0"),
            ("Redistribution and use in source and binary forms", "BSD-3-Clause"),
            ("Mozilla Public License Version 2.0", "MPL-2.0"),
        ):
            if words in text:
                return name
    return ""


def may_ship(expression: str) -> bool:
    """Every part that AND joins must be one of ours, of those that OR joins one."""
    parts = re.split(r"\s+AND\s+", re.sub(r"[()]", " ", expression)) if expression else [""]
    return all(any(one.strip() in SHIPPABLE for one in re.split(r"\s+OR\s+", part)) for part in parts)


if __name__ == "__main__":
    sys.exit(main())
