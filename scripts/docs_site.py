"""Hooks of mkdocs.yml: pages that lie elsewhere in the repository, and links that lead out of docs/."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

__all__ = ["on_files", "on_page_markdown", "within_site"]

ROOT = Path(__file__).resolve().parent.parent
ELSEWHERE = {"index.md": "README.md", "contributing.md": "CONTRIBUTING.md", "changelog.md": "CHANGELOG.md"}
"""Page → file of the repository."""
_LINK = re.compile(r"(?<!!)\[(?P<text>[^\]]+)\]\((?P<target>[^)#\s:]+)(?P<anchor>#[^)\s]*)?\)")
_PICTURE = re.compile(r"(!\[[^\]]*\]\()docs/")


def on_files(files: Any, config: Any) -> Any:
    """Adds the pages that are not in docs/."""
    from mkdocs.structure.files import File

    for page, source in ELSEWHERE.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Any, files: Any, **_: Any) -> str:
    """The page with links that work on the site."""
    pages = {file.src_uri for file in files}
    source = ELSEWHERE.get(page.file.src_uri)
    return within_site(markdown, source or f"docs/{page.file.src_uri}", page.file.src_uri, pages)


def within_site(markdown: str, source: str, page: str, pages: set[str]) -> str:
    """Links to files of docs/ as the page needs them; of links to other files of the repository their text and path.

    Args:
        source: the file of the repository that the text is of.
        page: the page's place on the site.
        pages: all places on the site.
    """
    places = {file: name for name, file in ELSEWHERE.items()}

    def link(found: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), found["target"]))
        place = places.get(target, target.removeprefix("docs/") if target.startswith("docs/") else "")
        if place in pages:
            near = posixpath.relpath(place, posixpath.dirname(page) or ".")
            return f"[{found['text']}]({near}{found['anchor'] or ''})"
        text = found["text"]
        return text if target in text else f"{text} (`{target}`)"

    markdown = _PICTURE.sub(r"\1", markdown) if page in ELSEWHERE else markdown
    return "".join(
        part if index % 2 else _LINK.sub(link, part)
        for index, part in enumerate(re.split(r"(```.*?```)", markdown, flags=re.DOTALL))
    )
