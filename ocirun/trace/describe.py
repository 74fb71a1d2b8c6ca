"""A recorded call as strace would print it: arguments by name, flags decoded, descriptors named.

Source: strace(1), -y.
"""

from __future__ import annotations

import os

from ocirun.kernel import keyctl, mount, paths, prctl, process
from ocirun.trace.calls import NATIVE, PYTHON, read_table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any, Final

    from ocirun.trace.calls import Traced

AT_FDCWD: Final = -100
MAX_NAMES: Final = 4096  # descriptors of which the names are remembered
COMMANDS: Final = {0: "FSCONFIG_SET_FLAG", 1: "FSCONFIG_SET_STRING", 6: "FSCONFIG_CMD_CREATE"}
# Numbers that are one of many, not bits.
CHOICES: Final = ("PR_", "KEYCTL_")
SYNONYMS: Final = ("O_NDELAY", "O_FSYNC")
FAMILIES: Final[dict[str, ModuleType]] = {
    "MS_": mount,
    "MNT_": mount,
    "AT_": mount,
    "OPEN_TREE_": mount,
    "FSOPEN_": mount,
    "FSMOUNT_": mount,
    "MOUNT_ATTR_": mount,
    "RESOLVE_": paths,
    "CLONE_": process,
    "PR_": prctl,
    "KEYCTL_": keyctl,
    "O_": os,
}


class Describer:
    """Describes the calls of one process, in order; `fds` are the names of its descriptors."""

    def __init__(self, fds: dict[int, str]) -> None:
        self.fds = fds

    def describe(
        self, call: str, arguments: list[Any], result: object, *, failed: bool
    ) -> tuple[str, str]:
        """Return the name of the system call, and the whole call.

        Raises:
            ValueError: no such call is recorded.
        """
        is_python = call.startswith("os.")
        row = (_PYTHON if is_python else _NATIVE).get(call.removeprefix("os."))
        if row is None:
            raise ValueError(f"unknown call {call}")
        keywords = arguments[-1] if arguments and isinstance(arguments[-1], dict) else {}
        kinds = [(name, kind) for name, kind in row.arguments if kind]
        values = dict(zip([name for name, _ in kinds], arguments, strict=False))
        words = [
            f"{name}={self._value(kind, values[name])}"
            for name, kind in kinds
            if name in values and not isinstance(values[name], dict)
        ]
        dir_fd = keywords.get("dir_fd")
        if isinstance(dir_fd, int):
            words.insert(0, f"dirfd={self._value('fd', dir_fd)}")
        text = f"{row.name}({', '.join(words)})"
        if not failed:
            self._remember(row, values, dir_fd, result)
        if failed:
            text += " = -1"
        elif row.result == "fd" and isinstance(result, int):
            text += f" = {self._value('fd', result)}"
        elif isinstance(result, int | str | list) and result is not True:
            text += f" = {result}"
        return row.name, text

    def _value(self, kind: str, value: object) -> str:
        if isinstance(value, list):
            return "[" + ", ".join(_quoted(str(word)) for word in value) + "]"
        if isinstance(value, str):
            return _quoted(value)
        if isinstance(value, int) and kind == "fd":
            return self._fd(value)
        if isinstance(value, int) and not isinstance(value, bool):
            return _number(kind, value)
        return str(value)

    def _fd(self, number: int) -> str:
        """Return a descriptor as `strace -y` shows it."""
        if number == AT_FDCWD:
            return "AT_FDCWD"
        name = self.fds.get(number, "")
        return f"{number}<{name}>" if name else str(number)

    def _remember(
        self, row: Traced, values: dict[str, Any], dir_fd: object, result: object
    ) -> None:
        """Keep the names of descriptors in step with what the call has done."""
        if row.name == "close" and "fd" in values:
            self.fds.pop(values["fd"], None)
        elif row.name == "dup2" and "to" in values:
            self.fds[values["to"]] = self.fds.get(values["from"], "")
        elif row.name == "pipe2" and isinstance(result, list):
            for fd in result:
                self.fds[fd] = "pipe"
        if row.result != "fd" or not isinstance(result, int) or len(self.fds) > MAX_NAMES:
            return
        of = self.fds.get(values.get("dirfd", values.get("fd", dir_fd)), "")
        path = str(values.get("path", values.get("name", values.get("fs_name", ""))))
        if row.name in ("openat", "openat2", "open_tree"):
            is_below = of and not path.startswith("/")
            self.fds[result] = f"{of}/{path}".rstrip("/") if is_below else path
        elif row.name == "fsopen":
            self.fds[result] = f"new {path}"
        elif row.name == "fsmount":
            self.fds[result] = f"mount of {of}"
        elif row.name == "dup":
            self.fds[result] = of
        elif row.name == "pidfd_open":
            self.fds[result] = f"pidfd of {values.get('pid')}"
        else:
            self.fds[result] = f"{row.name} {path}".rstrip()


def _number(kind: str, value: int) -> str:
    if kind in FAMILIES:
        return flags_text(value, kind)
    match kind:
        case "FSCONFIG":
            return COMMANDS.get(value, str(value))
        case "size":
            return f"({value} bytes)"
        case "count":
            return f"({value} variables)"
    return {"hex": hex, "oct": oct}.get(kind, str)(value)


def flags_text(value: int, prefix: str) -> str:
    """Return the names of the flags in `value`, of the family with that prefix."""
    known = _family(prefix)
    if prefix in CHOICES:
        names = [name for name, number in known.items() if number == value]
        return names[0] if names else str(value)
    names = []
    left = value
    for name, number in known.items():
        if number > 0 and left & number == number:
            names.append(name)
            left &= ~number
    if left and prefix == "OPEN_TREE_":
        return "|".join([*names, flags_text(left, "AT_")])
    if left or not names:
        names.append(hex(left))
    return "|".join(names)


def _family(prefix: str) -> dict[str, int]:
    """Return the flags of a family by name, the largest first."""
    if prefix not in _families:
        found = [
            (name, value)
            for name, value in vars(FAMILIES[prefix]).items()
            if name.startswith(prefix) and isinstance(value, int) and name not in SYNONYMS
        ]
        # Order: O_TMPFILE has the bits of O_DIRECTORY, too.
        _families[prefix] = dict(sorted(found, key=lambda item: -item[1]))
    return _families[prefix]


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


_NATIVE: Final = read_table(NATIVE)
_PYTHON: Final = read_table(PYTHON)
_families: Final[dict[str, dict[str, int]]] = {}
