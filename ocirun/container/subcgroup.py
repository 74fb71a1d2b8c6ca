"""Into which cgroup a process joins a container: its own one, or one below that.

Source: docs/runc-compat/cli.md#exec, docs/runc-compat/init.md#exec.
"""

from __future__ import annotations

import os

from ocirun.cgroups.choose import known_cgroup
from ocirun.container.status import cgroup_of
from ocirun.errors import Problem, SetupError, SpecError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirun.cgroups.cgroup import Cgroup
    from ocirun.container.record import Record


def cgroup_below(record: Record, below: tuple[str, ...]) -> Cgroup:
    """Return the container's cgroup, or the one below it that the words of `--cgroup` name.

    A word is a path, for every controller, or "cpu,memory:path" for some of v1; "/" is the
    container's own cgroup.

    Raises:
        SpecError: a word is malformed, leads out of the container's cgroup, or names a controller
            that there is not. SetupError: there is no such cgroup.
    """
    if not below:
        return cgroup_of(record)
    paths = dict(record.cgroup_paths)
    for name, path in parse_words(below).items():
        for controller in [name] if name else record.cgroup_paths:
            if controller not in record.cgroup_paths:
                raise _refusal(f"unknown controller {controller!r}")
            paths[controller] = _below(record.cgroup_paths[controller], path)
    return known_cgroup(paths, record.cgroup_manager, record.systemd_unit)


def parse_words(words: tuple[str, ...]) -> dict[str, str]:
    """Turn the words of `--cgroup` into controller → path; "" stands for every controller.

    Raises:
        SpecError: one of them is not of either form, or two mean the same controller.
    """
    if len(words) == 1 and ":" not in words[0]:
        return {"": words[0]}
    paths: dict[str, str] = {}
    for word in words:
        names, colon, path = word.partition(":")
        if not colon:
            raise _refusal(f"invalid --cgroup argument: {word} (missing <controller>: prefix)")
        if ":" in path or not names:
            raise _refusal(f"invalid --cgroup argument: {word}")
        for name in names.split(","):
            if name in paths:
                raise _refusal(f"controller {name} specified multiple times")
            paths[name] = path
    return paths


def _below(top: str, path: str) -> str:
    """Return the directory `path` below `top`.

    Security: the words are the caller's, and only the container's cgroup is his to choose from.
    """
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise _refusal(f"bad sub cgroup path: {path}")
    directory = "/".join([top, *parts])
    if not os.path.isdir(directory):
        raise SetupError(f"cgroup {directory} does not exist")
    return directory


def cgroup_of_init(record: Record) -> Cgroup | None:
    """Return the cgroup v2 that init has moved itself to, below the container's; None without one.

    Kernel: a cgroup that hands controllers down may hold no process itself (EBUSY), so where a
    service manager inside has done that, processes can only join further below.
    """
    from ocirun.cgroups.files import read_text  # cold: most containers stay where they were put
    from ocirun.cgroups.paths import UNIFIED, own_directory, parse_own, read_table

    top = record.cgroup_paths.get(UNIFIED)
    mount = read_table().v2_mount()
    if not top or not mount or len(record.cgroup_paths) > 1:
        return None
    try:
        own = parse_own(read_text(f"/proc/{record.init_process_pid}/cgroup"))
    except FileNotFoundError:
        return None
    directory = own_directory(mount, own.get(UNIFIED, "/"))
    if not directory.startswith(f"{top}/"):
        return None
    return known_cgroup({UNIFIED: directory}, record.cgroup_manager, record.systemd_unit)


def _refusal(words: str) -> SpecError:
    return SpecError([Problem("", words)], "--cgroup")
