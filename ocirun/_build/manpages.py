"""Write the man pages: ocirun(1), one page a verb, ocirun-config(5) and ocirun-bundle(7).

They are made of what `--help` is made of, `cli/verbs.py` and `cli/manual.py`, and of the
descriptions in `schemas/`. Run by meson:

    manpages.py --names FOLDER...     print the names of the pages
    manpages.py SCHEMAS FOLDER        write them to FOLDER

Source: man(7); groff_char(7) for the escapes.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import ocirun
from ocirun.cli import help as helptext
from ocirun.cli.manual import CHANGED, PAGES, SUMMARY
from ocirun.cli.verbs import GLOBALS, VERBS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any, Final

PLATFORMS: Final = {"windows", "solaris", "freebsd", "zos", "vm"}
BUNDLE: Final = (
    "A bundle is a directory from which a container is made. It has",
    (
        ("config.json", "the configuration, see ocirun-config(5)"),
        ("rootfs", "the root filesystem; root.path of config.json may name another directory"),
    ),
    "ocirun does not pull or unpack images. A root filesystem can be made by any tool:",
    """  mkdir -p web/rootfs
  docker export $(docker create nginx) | tar -x -C web/rootfs
  ocirun spec --bundle web
  ocirun run --bundle web web""",
    "With skopeo and umoci, from a registry to a bundle:",
    """  skopeo copy docker://debian:stable oci:debian:stable
  umoci unpack --image debian:stable web
  ocirun run --bundle web web""",
    "Or with debootstrap:",
    """  debootstrap --variant=minbase stable web/rootfs
  ocirun spec --bundle web""",
    """The bundle belongs to its author: ocirun reads it, and keeps a copy of its
configuration. `ocirun delete` does not touch it. Paths of mounts and of the root may be
relative to it.""",
)

CONFIG: Final = (
    "The configuration of a container as the OCI runtime specification defines it. "
    "`ocirun spec` writes one to begin with, `ocirun validate` finds what is wrong. "
    "Properties for other platforms than Linux are left out here."
)


def names() -> list[str]:
    """Return the file names of all pages."""
    verbs = [f"ocirun-{name}.1" for name in PAGES if name != "help"]
    return ["ocirun.1", *verbs, "ocirun-config.5", "ocirun-bundle.7"]


def main() -> None:
    """Print the names, or write the pages."""
    if sys.argv[1] == "--names":
        print("\n".join(names()))
        return
    schemas, folder = map(Path, sys.argv[1:])
    for name in names():
        (folder / name).write_text("\n".join(page(name, schemas)) + "\n")


def page(name: str, schemas: Path) -> Iterator[str]:
    """Return the lines of one page."""
    stem, _, section = name.rpartition(".")
    yield f'.TH {stem.upper()} {section} "{CHANGED}" "ocirun {ocirun.__version__}"'
    if name == "ocirun-config.5":
        yield from _config(schemas)
    elif name == "ocirun-bundle.7":
        yield from _bundle()
    elif name == "ocirun.1":
        yield from _overview()
    else:
        yield from _verb(stem.removeprefix("ocirun-"))


def _overview() -> Iterator[str]:
    yield from _head("ocirun", "run containers from OCI bundles", "ocirun [OPTIONS] VERB [ARG...]")
    yield ".SH DESCRIPTION"
    yield from _paragraphs([SUMMARY])
    yield ".SH VERBS"
    shown = [verb for verb in VERBS.values() if not verb.hidden]
    yield from _list((f"ocirun-{verb.name}(1)", verb.summary) for verb in shown)
    yield ".SH OPTIONS"
    yield from _list(map(helptext.row, helptext.visible(GLOBALS)))
    yield from _also("ocirun-bundle(7)", "ocirun-config(5)", "runc(8)", "crun(1)")


def _verb(name: str) -> Iterator[str]:
    verb, words = VERBS[name], PAGES[name]
    usage = f"ocirun {name} [OPTIONS] {verb.positional}".rstrip()
    yield from _head(f"ocirun-{name}", verb.summary, usage)
    yield ".SH DESCRIPTION"
    yield from _paragraphs(words.description)
    yield ".SH OPTIONS"
    yield from _list([*map(helptext.row, helptext.visible(verb.options)), helptext.HELP_ROW])
    yield ".SH EXAMPLES"
    yield from _list(words.examples)
    yield ".SH EXIT STATUS"
    yield from _list(words.statuses)
    yield from _also("ocirun(1)", "ocirun-config(5)")


def _bundle() -> Iterator[str]:
    yield from _head("ocirun-bundle", "directory from which ocirun makes a container", "")
    yield ".SH DESCRIPTION"
    for part in BUNDLE:
        yield from _list(part) if isinstance(part, tuple) else _paragraphs([part])
    yield from _also("ocirun(1)", "ocirun-config(5)")


def _config(schemas: Path) -> Iterator[str]:
    yield from _head("ocirun-config", "properties of config.json", "")
    yield ".SH DESCRIPTION"
    yield from _paragraphs([CONFIG])
    yield ".SH PROPERTIES"
    yield from _list(_properties(schemas / "config" / "config.json", "", ""))
    yield from _also("ocirun(1)", "ocirun-bundle(7)", "ocirun-validate(1)")


def _properties(path: Path, pointer: str, prefix: str) -> Iterator[tuple[str, str]]:
    """Return (name, description) of each property below a place of a schema, depth first."""
    yield from _members(_place(path, pointer), path, prefix)


def _place(path: Path, pointer: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_bytes())
    for step in filter(None, pointer.split("/")):
        found = found[step]
    return found


def _target(schema: dict[str, Any], path: Path) -> tuple[Path, str] | None:
    """Return the file and the pointer that a schema refers to."""
    if "$ref" not in schema:
        return None
    file, _, pointer = schema["$ref"].partition("#")
    return (path.parent / file).resolve() if file else path, pointer


def _members(schema: dict[str, Any], path: Path, prefix: str) -> Iterator[tuple[str, str]]:
    if target := _target(schema, path):
        yield from _properties(*target, prefix)
    for name, member in schema.get("properties", {}).items():
        if not prefix and name in PLATFORMS:
            continue
        words = member.get("description")
        if not words and (target := _target(member, path)):
            words = _place(*target).get("description")
        yield f"{prefix}{name}", words or ""
        yield from _members(member, path, f"{prefix}{name}.")
    if isinstance(items := schema.get("items"), dict):
        yield from _members(items, path, f"{prefix.removesuffix('.')}[].")


def _head(name: str, summary: str, usage: str) -> Iterator[str]:
    yield ".SH NAME"
    yield f"{escape(name)} \\- {escape(summary)}"
    if usage:
        yield ".SH SYNOPSIS"
        yield f".B {escape(usage)}"


def _paragraphs(texts: Iterable[str]) -> Iterator[str]:
    """Return paragraphs; a text that begins with spaces is printed as it is."""
    for number, text in enumerate(texts):
        if text.startswith(" "):
            yield from (".PP", ".EX", *map(escape, text.splitlines()), ".EE")
        else:
            yield from ([".PP"] if number else [])
            yield escape(text)


def _list(rows: Iterable[tuple[str, str]]) -> Iterator[str]:
    for left, right in rows:
        yield ".TP"
        yield f".B {escape(left)}"
        yield escape(right) or "\\&"


def _also(*pages: str) -> Iterator[str]:
    yield ".SH SEE ALSO"
    for number, name in enumerate(pages):
        stem, section = name[:-1].split("(")
        yield f".BR {escape(stem)} ({section})" + ("," if number < len(pages) - 1 else "")


def escape(text: str) -> str:
    """Return `text` as roff: nothing in it is a request or a special character."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("…", "...")
    text = re.sub(r"`([^`]*)`", r"\\fB\1\\fP", text)
    text = text.replace('"', "\\(dq").replace("'", "\\(aq")
    return f"\\&{text}" if text[:1] in {".", "'"} else text


if __name__ == "__main__":
    main()
