"""Pages of the site that live outside docs/, and links that lead out of it."""

import re
from pathlib import Path
from typing import Any

import yaml
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]

PAGES = {
    "README.md": "index.md",
    "ARCHITECTURE.md": "architecture.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
}
"""Pages at the root of the repository, and what they are called on the site."""

_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s#]*)(#[^)\s]*)?\)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Pages that nobody has put into the navigation yet, then the decisions, a page each."""
    placed = yaml.safe_dump(config.nav)
    new = [path.name for path in sorted((ROOT / "docs").glob("*.md")) if path.name not in placed]
    decisions = [f"adr/{path.name}" for path in sorted((ROOT / "docs/adr").glob("*.md"))]
    more = [{"More": new}] if new else []
    config.nav = [*(config.nav or []), *more, {"Decisions": decisions}]
    return config


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Adds the pages of the root."""
    for source, name in PAGES.items():
        files.append(File.generated(config, name, content=(ROOT / source).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, *, page: Any, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001 - mkdocs passes them
    """A link to a page of the site stays one; what the site does not hold is named, not linked."""
    name = page.file.src_uri
    roots = {site: source for source, site in PAGES.items()}
    here = ROOT / roots[name] if name in roots else ROOT / "docs" / name

    def relink(found: re.Match[str]) -> str:
        picture, words, target, anchor = found[1], found[2], found[3], found[4] or ""
        if not target or "://" in target or target.startswith("mailto:"):
            return found[0]
        path = (here.parent / target).resolve()
        inside = _on_site(path)
        if inside is None:
            return f"{words} (`{path.relative_to(ROOT)}`)"
        up = "../" * name.count("/")
        return f"{picture}[{words}]({up}{inside}{anchor})"

    return _LINK.sub(relink, markdown)


def _on_site(path: Path) -> str | None:
    relative = path.relative_to(ROOT).as_posix()
    if relative in PAGES:
        return PAGES[relative]
    return relative.removeprefix("docs/") if relative.startswith("docs/") and path.is_file() else None
