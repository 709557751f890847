"""What the documents say is true: commands run, files exist, the map of the house is the house."""

import ast
import re
import shlex
import subprocess
import tomllib
from pathlib import Path

import pytest
from conftest import ROOT, Running, here

from thingstorm.config import Config

PAGES = [
    ROOT / "README.md",
    ROOT / "ARCHITECTURE.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "SECURITY.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
ROOMS = ("contracts", "simulator", "broker", "pipeline", "analytics", "thingstorm")
RUN_ELSEWHERE = (
    "thingstorm up",
    "thingstorm run",
    "thingstorm demo",
    "thingstorm serve",
    "thingstorm evaluate",
)
"""Commands that other acceptance tests run in full."""

COMPOSE = {
    "docker compose up",
    "docker compose up --build",
    "docker compose run --rm demo",
    "docker compose down -v",
}
"""What tests/compose runs."""


def commands(page: Path) -> list[str]:
    # a block ends at its own closing fence: else what follows one with a language would be taken for a block
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)
    lines = [
        line.split("  #")[0].removesuffix(" &").strip()
        for language, block in blocks
        if not language
        for line in block.splitlines()
    ]
    return [line for line in lines if line.startswith(("thingstorm ", "make ", "docker compose "))]


def test_every_thingstorm_command_of_the_pages_runs(shared_up: Running, tmp_path: Path) -> None:
    found = {line for page in PAGES for line in commands(page) if line.startswith("thingstorm ")}
    asked = [line for line in sorted(found) if not line.startswith(RUN_ELSEWHERE) and "COMMAND" not in line]
    assert len(asked) >= 4
    series = [f"{row},{row % 7}" for row in range(60)]
    (tmp_path / "requests.csv").write_text("\n".join(["timestamp,value", *series]))
    for line in asked:
        finished = here(*shlex.split(line)[1:], *_aimed(line, shared_up), cwd=tmp_path)
        assert finished.code == 0, f"{line}: {finished.err}"


def _aimed(line: str, up: Running) -> list[str]:
    """The flags that aim a command at the stack of this test."""
    if line.startswith(("thingstorm score", "thingstorm rules")):  # which ask no stack
        return []
    if not line.startswith("thingstorm deploy"):
        return ["--api", up.addresses["api"]]
    return [] if "--backend aws" in line else ["--set", f"aws.endpoint={up.addresses['aws']}"]


def test_every_compose_command_of_the_pages_is_one_that_the_compose_tests_run() -> None:
    found = {line for page in PAGES for line in commands(page) if line.startswith("docker compose ")}
    assert found == COMPOSE


@pytest.mark.parametrize(
    "line", sorted({line for page in PAGES for line in commands(page) if line.startswith("make ")})
)
def test_every_make_target_of_the_pages_exists(line: str) -> None:
    done = subprocess.run(
        ["make", "-n", *shlex.split(line)[1:]], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_make_help_lists_at_most_ten_targets() -> None:
    told = subprocess.run(
        ["make", "--no-print-directory", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert 5 <= len(told) <= 10


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_to_a_file_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_setting_that_the_pages_name_exists() -> None:
    sections = {name: field.annotation for name, field in Config.model_fields.items()}
    known = {name: set(kind.model_fields) for name, kind in sections.items() if hasattr(kind, "model_fields")}
    named = re.compile(rf"`({'|'.join(known)})\.(?!py\b|md\b)([a-z_]+)")
    found = {(page.name, *match.groups()) for page in PAGES for match in named.finditer(page.read_text())}
    assert len(found) > 50
    assert not [(page, f"{section}.{name}") for page, section, name in found if name not in known[section]]


def test_the_rooms_of_the_architecture_page_exist() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    rooms = re.findall(r"^\| `([a-z]+)/` \|", text, re.MULTILINE)
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"][
        "wheel"
    ]["packages"]
    assert set(rooms) == {*packages, "scenarios"}


def test_the_architecture_page_has_two_pages_and_the_floors_that_are_enforced() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    assert len(text.split()) <= 1_200
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = (one["layers"] for one in contracts if one["type"] == "layers")
    drawn = re.findall(r"^(?:roof|stages|ground) +([a-z]+(?: \| [a-z]+)*)\b", text, re.MULTILINE)
    assert drawn == layers


@pytest.mark.parametrize("page", ["ARCHITECTURE.md", "docs/internals.md"])
def test_the_modules_that_the_maps_name_exist(page: str) -> None:
    ours = {path.relative_to(ROOT).as_posix() for room in ROOMS for path in (ROOT / room).rglob("*.py")}
    named = re.findall(r"`([\w/]+\.py)`", (ROOT / page).read_text())
    assert named
    assert not [name for name in named if not any(f"/{path}".endswith(f"/{name}") for path in ours)]


def test_every_package_says_what_lives_there() -> None:
    for room in ROOMS:
        for file in (ROOT / room).rglob("__init__.py"):
            told = ast.get_docstring(ast.parse(file.read_text())) or ""
            assert len(told.split()) >= 10, file


def test_every_public_function_and_class_says_what_it_is() -> None:
    bare = [
        f"{file.relative_to(ROOT)}: {node.name}"
        for room in ROOMS
        for file in sorted((ROOT / room).rglob("*.py"))
        for node in ast.parse(file.read_text()).body
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
        and not node.name.startswith("_")
        and node.name != "register"  # of each file of the command line: it registers the file's commands
        and ast.get_docstring(node) is None
    ]
    assert not bare


def test_the_start_order_of_the_architecture_page_is_that_of_the_stack(
    shared_up: Running, tmp_path: Path
) -> None:
    told = here("doctor", "--format", "json", "--api", shared_up.addresses["api"], cwd=tmp_path).out
    running = re.findall(r'"service": "([^"]+)"', told)
    page = (ROOT / "ARCHITECTURE.md").read_text().partition("## Start and stop")[2].partition("## Threads")[0]
    written = [
        name for name in re.findall(r"`([a-z-]+)`", page.partition("Stop is")[0]) if name != "simulator"
    ]
    assert written == running
