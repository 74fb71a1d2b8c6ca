"""List what a container has written: A added, C changed, D deleted, as `docker diff` does.

Source: kernel Documentation/filesystems/overlayfs.rst, "whiteouts and opaque directories".
"""

from __future__ import annotations

import os
import stat

from ocirun.errors import doing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocirun.throwaway.layers import Tree

OPAQUE = ("trusted.overlay.opaque", "user.overlay.opaque")


def changes_in(tree: Tree, place: str) -> list[str]:
    """Return a line for each path that was added, changed or deleted, sorted by path.

    `place` is a directory that `Tree.make` filled. A directory is not listed only because something
    in it has changed.
    """
    found: list[tuple[str, str]] = []
    with doing(f"reading what was written in {place}"):
        for layer in tree.layers:
            if not layer.is_read_only:
                found += _compare(layer.upper(place), layer.lower, layer.destination)
        found += _own(tree, f"{place}/rootfs")
    return [f"{letter} {path}" for path, letter in sorted(found)]


def _compare(upper: str, lower: str, shown: str) -> Iterator[tuple[str, str]]:
    """Yield (path, letter) for the entries of `upper`, an overlay directory over `lower`."""
    with os.scandir(upper) as entries:
        above = {entry.name: entry.stat(follow_symlinks=False) for entry in entries}
    if lower and _is_opaque(upper):
        for name in sorted(os.listdir(lower)):
            if name not in above:
                yield f"{shown}/{name}", "D"
    for name, found in above.items():
        path, below = f"{shown}/{name}", f"{lower}/{name}"
        was = _stat(below) if lower else None
        if stat.S_ISCHR(found.st_mode) and found.st_rdev == 0:
            yield path, "D"
            continue
        is_directory = stat.S_ISDIR(found.st_mode)
        was_directory = was is not None and stat.S_ISDIR(was.st_mode)
        if was is None:
            yield path, "A"
        elif not (is_directory and was_directory) or _differ(found, was):
            yield path, "C"
        if is_directory:
            yield from _compare(f"{upper}/{name}", below if was_directory else "", path)


def _own(tree: Tree, root: str) -> Iterator[tuple[str, str]]:
    """Yield (path, letter) for what was added to the root outside the overlays."""
    made = {path for path, _ in (*tree.directories, *tree.links)}
    made |= {path for path, _, _ in tree.files}
    mounted = {layer.destination for layer in tree.layers}
    pending = [""]
    while pending:
        directory = pending.pop()
        with os.scandir(root + directory) as entries:
            for entry in entries:
                path = f"{directory}/{entry.name}"
                if path in mounted:
                    continue
                if path not in made:
                    yield path, "A"
                if entry.is_dir(follow_symlinks=False):
                    pending.append(path)
    for path in made:
        if not os.path.lexists(root + path):
            yield path, "D"


def _differ(one: os.stat_result, other: os.stat_result) -> bool:
    return (one.st_mode, one.st_uid, one.st_gid) != (other.st_mode, other.st_uid, other.st_gid)


def _is_opaque(directory: str) -> bool:
    names = os.listxattr(directory, follow_symlinks=False)
    return any(
        name in names and os.getxattr(directory, name, follow_symlinks=False) == b"y"
        for name in OPAQUE
    )


def _stat(path: str) -> os.stat_result | None:
    try:
        return os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
