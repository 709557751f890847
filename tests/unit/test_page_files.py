import hashlib
import re
from pathlib import Path

import pytest

import thingstorm.dashboard

STATIC = Path(thingstorm.dashboard.__file__).parent / "static"
VENDOR = STATIC / "vendor"

_ROW = re.compile(r"^\| `([^`]+)` \|.*\| `([0-9a-f]{16})` \|$", re.MULTILINE)


def test_every_library_is_the_published_one() -> None:
    told = dict(_ROW.findall((VENDOR / "README.md").read_text(encoding="utf-8")))
    files = {path.name for path in VENDOR.iterdir() if path.suffix in (".js", ".css")}
    assert set(told) == files
    for name, start in told.items():
        assert hashlib.sha256((VENDOR / name).read_bytes()).hexdigest().startswith(start), name


@pytest.mark.parametrize("path", sorted(STATIC.glob("*.*")), ids=lambda path: path.name)
def test_no_file_of_ours_asks_another_machine(path: Path) -> None:
    text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?://|(?:src|href)=[\"']//", text)


def test_index_has_no_inline_script_or_style() -> None:
    text = (STATIC / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"<script(?![^>]*\ssrc=)|<style|\sstyle=|\son[a-z]+=", text)
