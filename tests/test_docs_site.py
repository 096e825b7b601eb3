"""The documentation as a site: every page is in its menu, links lead somewhere, and it is built without a warning."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts.docs_site import ELSEWHERE, within_site
from tests.paths import REPO

PAGES = {"index.md", "api.md", "truth/README.md", "changelog.md", "pictures/report.jpg"}


def named(menu: Any) -> set[str]:
    """The pages of a menu."""
    if isinstance(menu, str):
        return {menu}
    return {page for entry in (menu.values() if isinstance(menu, dict) else menu) for page in named(entry)}


def test_every_page_is_in_the_menu() -> None:
    menu = named(yaml.safe_load((REPO / "mkdocs.yml").read_text(encoding="utf-8"))["nav"])
    found = {str(path.relative_to(REPO / "docs")) for path in (REPO / "docs").rglob("*.md")}
    assert menu == found | set(ELSEWHERE)
    assert all((REPO / source).is_file() for source in ELSEWHERE.values())


@pytest.mark.parametrize(
    ("text", "source", "page", "expected"),
    [
        ("[a](api.md#x)", "docs/data.md", "data.md", "[a](api.md#x)"),
        ("[a](docs/api.md)", "README.md", "index.md", "[a](api.md)"),
        ("![a](docs/pictures/report.jpg)", "README.md", "index.md", "![a](pictures/report.jpg)"),
        ("[a](../README.md)", "docs/data.md", "data.md", "[a](index.md)"),
        ("[a](../api.md)", "docs/truth/README.md", "truth/README.md", "[a](../api.md)"),
        ("[the file](../configs/x.yaml)", "docs/data.md", "data.md", "the file (`configs/x.yaml`)"),
        ("[`configs/x.yaml`](../configs/x.yaml)", "docs/data.md", "data.md", "`configs/x.yaml`"),
        ("[a](https://example.org/api.md)", "docs/data.md", "data.md", "[a](https://example.org/api.md)"),
        ("[a](#here)", "docs/data.md", "data.md", "[a](#here)"),
        ("```\n[a](../x)\n```", "docs/data.md", "data.md", "```\n[a](../x)\n```"),
    ],
)
def test_links_are_those_of_the_site(text: str, source: str, page: str, expected: str) -> None:
    assert within_site(text, source, page, PAGES) == expected


BESIDE = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "examples/README.md")
TEXTS = [*sorted((REPO / "docs").rglob("*.md")), *(REPO / name for name in BESIDE)]


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_links_between_files_lead_to_a_file(path: Path) -> None:
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#\s:]+)(?:#[^)\s]*)?\)", text):
        assert (path.parent / target).exists(), target


@pytest.mark.skipif(importlib.util.find_spec("mkdocstrings") is None, reason="the extra `docs` is not installed")
def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(words, cwd=REPO, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "site" / "index.html").is_file()
