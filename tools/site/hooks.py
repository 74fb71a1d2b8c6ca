"""What the site needs beyond docs/: the pages at the top of the repository, and links out of it.

Source: www.mkdocs.org/user-guide/configuration/#hooks, /dev-guide/plugins/#events
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

REPO = Path(__file__).resolve().parents[2]
SOURCES = "https://github.com/ocirun/ocirun/blob/main/"
TOP = ("ARCHITECTURE.md", "SECURITY.md", "DECISIONS.md", "CONTRIBUTING.md", "CHANGELOG.md")
API = """# Reference

::: ocirun
    options:
      show_root_heading: false
      members: [run, Container, Process, CompletedContainer, Spec]

::: ocirun.aio
    options:
      heading_level: 2
"""
LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: Any) -> Files:  # noqa: ANN401  # mkdocs' own type
    """Add the pages that are not in docs/."""
    for name in TOP:
        files.append(File.generated(config, name, content=(REPO / name).read_text()))
    files.append(File.generated(config, "api.md", content=API))
    return files


def on_page_markdown(markdown: str, page: Page, config: Any, files: Files) -> str:  # noqa: ANN401, ARG001
    """Lead links to pages of the site there, and all others to the sources.

    Pages keep the links that GitHub follows: from docs/x.md to ../ocirun/y.py. What is on the site
    lies in one folder there: the top of the repository, and docs/.
    """
    top = page.file.src_uri in TOP
    folder = "" if top else posixpath.dirname(posixpath.join("docs", page.file.src_uri))

    def lead(match: re.Match[str]) -> str:
        path, anchor = posixpath.normpath(posixpath.join(folder, match[1])), match[2] or ""
        inside = path.removeprefix("docs/") if path.startswith("docs/") else path
        if path in TOP or (path.startswith("docs/") and files.get_file_from_path(inside)):
            start = posixpath.dirname(page.file.src_uri)
            return f"]({posixpath.relpath(inside, start or '.')}{anchor})"
        return f"]({SOURCES}{path}{anchor})"

    return LINK.sub(lead, markdown)
