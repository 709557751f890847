"""The handler as AWS Lambda gets it: a zip of `pipeline/ingest.py` and of what it imports of ours, and nothing else."""

import ast
import hashlib
import io
import sys
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from contracts.errors import ConfigError

_ROOT: Final = Path(__file__).parents[2]
_OURS: Final = ("contracts", "pipeline")
_ON_LAMBDA: Final = frozenset({"boto3", "botocore"})
"""What AWS's Python runtimes bring along."""

_EPOCH: Final = (1980, 1, 1, 0, 0, 0)
"""The same sources give the same bytes, so the same name, so an update that changes nothing is none."""


def build_zip(module: str = "pipeline.ingest") -> bytes:
    """The zip. Raises ConfigError if the module needs a package that Lambda does not have."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in _closure(module):
            entry = zipfile.ZipInfo(path.relative_to(_ROOT).as_posix(), _EPOCH)
            entry.external_attr = 0o644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, path.read_bytes())
    return out.getvalue()


def key_of(body: bytes) -> str:
    """Where the zip lies in the bucket for artifacts: named by its content."""
    return f"handler-{hashlib.sha256(body).hexdigest()[:16]}.zip"


def _closure(module: str) -> Sequence[Path]:
    """The files of ours that importing the module runs, in order of their names."""
    found: set[Path] = set()
    left = [module]
    while left:
        name = left.pop()
        paths = [path for path in (*_packages(name), _file(name)) if path not in found]
        for path in paths:
            found.add(path)
            left += _imports(path, package=_package(path))
    return sorted(found)


def _packages(name: str) -> Iterator[Path]:
    parts = name.split(".")[:-1]
    for count in range(1, len(parts) + 1):
        yield _ROOT.joinpath(*parts[:count], "__init__.py")


def _file(name: str) -> Path:
    path = _ROOT.joinpath(*name.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _package(path: Path) -> str:
    return ".".join(path.relative_to(_ROOT).parent.parts)


def _imports(path: Path, *, package: str) -> Iterator[str]:
    """The modules of ours that a file imports. Raises ConfigError for a package that Lambda does not have."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        for name in _names(node, package):
            root = name.partition(".")[0]
            if root in _OURS:
                yield name
            elif root not in sys.stdlib_module_names and root not in _ON_LAMBDA:
                raise ConfigError(
                    f"{path.relative_to(_ROOT)}:{getattr(node, 'lineno', 0)} imports {name}, which Lambda does not have",
                    fix="the handler may use the standard library and boto3 only",
                )


def _names(node: ast.AST, package: str) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        above = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
        base = ".".join([*above, *([node.module] if node.module else [])])
        for alias in node.names:
            inner = f"{base}.{alias.name}"
            yield inner if base.partition(".")[0] in _OURS and _file(inner).is_file() else base
