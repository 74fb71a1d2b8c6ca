"""linux.intelRdt: a class of service with its share of caches and memory bandwidth.

A folder of the resctrl file system is a class; a process belongs to the one whose `tasks` has it,
and so does what it starts. A class may hold folders in `mon_groups`, which only count.

    <resctrl>/<closID, or the container's id>/                 ours, or there before us
    <resctrl>/<closID, or the container's id>/mon_groups/<id>  with enableMonitoring

Source: runtime-spec config-linux.md#intelrdt; kernel filesystems/resctrl.rst;
docs/runc-compat/init.md#resctrl.
"""

from __future__ import annotations

import os

from ocirun.errors import Problem, SetupError, UnsupportedError, kernel_words
from ocirun.kernel.mountinfo import read_mountinfo

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ocirun.spec.types import IntelRdt

ROOT_CLASS: Final = "/"
POINTER: Final = "/linux/intelRdt"


def find_resctrl() -> str | None:
    """Return where resctrl is mounted in our mount namespace; None when it is not."""
    for row in read_mountinfo():
        if row.fs_name == "resctrl":
            return row.point
    return None


class ResctrlGroup:
    """The class of service of one container, and its monitoring group.

    `path` and `monitoring` are absolute ("" for no monitoring); `made` are the folders that go
    with the container, parents first. A class that has a closID never does: other containers may
    have come to share it.
    """

    __slots__ = ("_closid", "_new_class", "_rdt", "_top", "made", "monitoring", "path")

    def __init__(self, container_id: str, rdt: IntelRdt) -> None:
        """Settle the names; nothing is made.

        Raises:
            UnsupportedError: resctrl is not mounted.
        """
        top = find_resctrl()
        if top is None:
            message = "intelRdt is specified in config, but no resctrl file system is mounted"
            raise UnsupportedError([Problem(POINTER, message)])
        self._top = top
        self._rdt = rdt
        self._closid = rdt.get("closID", "")
        name = self._closid or container_id
        self.path = top if name == ROOT_CLASS else f"{top}/{name}"
        self.monitoring = ""
        self.made: list[str] = []
        self._new_class = False
        if rdt.get("enableMonitoring"):
            self.monitoring = f"{self.path}/mon_groups/{container_id}"

    def missing(self) -> list[str]:
        """Return the folders that `prepare` is going to make and that go with the container."""
        own = [] if self._closid else [self.path]
        return [path for path in (*own, self.monitoring) if path and not os.path.isdir(path)]

    def _must_exist(self) -> bool:
        rdt = self._rdt
        return bool(self._closid) and not (_legacy_lines(rdt) or rdt.get("schemata"))

    def prepare(self) -> None:
        """Make the folders that are not there, and look at the class that is.

        Raises:
            SetupError: a class that should be there is not, or differs from what is asked for;
                ENOSPC when the processor has no further class of service.
        """
        legacy = _legacy_lines(self._rdt)
        if self._must_exist():
            if not os.path.isdir(self.path):
                raise SetupError(
                    f'clos_id "{self._closid}" is not there in {self._top}, '
                    "and no schema says what it should be"
                )
        elif self._made_folder(self.path):
            self._new_class = True
            if not self._closid:
                self.made.append(self.path)
        elif self._closid and legacy:
            self._compare(legacy)
        if self.monitoring and self._made_folder(self.monitoring):
            self.made.append(self.monitoring)

    def _made_folder(self, path: str) -> bool:
        try:
            make_group(path)
        except FileExistsError:
            return False
        except OSError as error:
            raise self._failure(f"creating the resctrl group {path}", error) from error
        return True

    def _compare(self, wanted: list[str]) -> None:
        """Refuse a class that is there with other values.

        Spec: "runtimes MUST compare l3CacheSchema and/or memBwSchema value with schemata file".
        """
        with open(f"{self.path}/schemata", encoding="utf-8") as schemata:
            found = {
                resource: values for line in schemata for resource, values in [_read_schema(line)]
            }
        for line in wanted:
            resource, values = _read_schema(line)
            if not values.items() <= found.get(resource, {}).items():
                raise SetupError(
                    f'clos_id "{self._closid}" is there with another {resource} schema than {line}'
                )

    def join(self, host_pid: int) -> None:
        """Move a process, whose later children follow it, into the class and the monitoring."""
        join_groups([self.path, self.monitoring], host_pid, self._top)

    def apply(self) -> None:
        """Write the schemata; nothing is written when none are given.

        Spec: `schemata` "must be written last, after the values from l3CacheSchema and
        memBwSchema". Kernel: one write may not name a resource twice, hence two.
        """
        for lines in (_legacy_lines(self._rdt), self._rdt.get("schemata", ())):
            if lines:
                text = "".join(f"{line}\n" for line in lines)
                try:
                    _write(f"{self.path}/schemata", text)
                except OSError as error:
                    what = f"writing {text!r} to {self.path}/schemata"
                    raise self._failure(what, error) from error

    def undo(self) -> None:
        """Remove what `prepare` made, a class with a closID too: nobody can know it yet."""
        remove_groups([self.path, self.monitoring] if self._new_class else self.made)

    def _failure(self, what: str, error: OSError) -> SetupError:
        return _failure(what, error, self._top)


def _legacy_lines(rdt: IntelRdt) -> list[str]:
    """Return the lines of the two older members.

    Spec: of an l3CacheSchema with lines that begin with MB:, only the others count.
    """
    lines = [line for line in rdt.get("l3CacheSchema", "").split("\n") if line.strip()]
    lines = [line for line in lines if not line.lstrip().startswith("MB:")]
    if rdt.get("memBwSchema"):
        lines.append(rdt["memBwSchema"])
    return lines


def _read_schema(line: str) -> tuple[str, dict[str, str]]:
    """Read "L3:0=0ff;1=f" as ("L3", {"0": "ff", "1": "f"}): the kernel pads its numbers."""
    resource, _, domains = line.strip().partition(":")
    values = {}
    for domain in domains.split(";"):
        number, _, value = domain.partition("=")
        values[number.strip()] = value.strip().lower().lstrip("0") or "0"
    return resource.strip(), values


def join_groups(paths: list[str], host_pid: int, top: str = "") -> None:
    """Write a process into the `tasks` of each of `paths`; "" is skipped.

    `top` is where resctrl is mounted (its last_cmd_status is part of the error); "" looks for it.
    """
    for path in paths:
        if path:
            try:
                _write(f"{path}/tasks", str(host_pid))
            except OSError as error:
                what = f"writing {host_pid} to {path}/tasks"
                raise _failure(what, error, top or find_resctrl() or "") from error


def remove_groups(made: list[str]) -> None:
    """Remove folders that create made, the last one first; gone already is as good.

    Raises:
        SetupError: the kernel keeps one.
    """
    for path in filter(None, reversed(made)):
        try:
            remove_group(path)
        except FileNotFoundError:
            continue
        except OSError as error:
            message = f"removing the resctrl group {path}: {kernel_words(error)}"
            raise SetupError(message, error.errno or 0) from error


def make_group(path: str) -> None:
    """Make a folder of resctrl; the kernel fills it."""
    os.mkdir(path, 0o755)


def remove_group(path: str) -> None:
    """Remove a folder of resctrl, with the files in it; its processes fall to the class above."""
    os.rmdir(path)


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, os.fsencode(text))
    finally:
        os.close(fd)


def _failure(what: str, error: OSError, top: str) -> SetupError:
    """The sentence for a refusal, with the words that resctrl keeps for the last one."""
    message = f"{what}: {kernel_words(error)}"
    try:
        with open(f"{top}/info/last_cmd_status", encoding="utf-8") as status:
            said = status.read().strip()
    except OSError:
        said = ""
    if said and said != "ok":
        message = f"{message} ({said})"
    return SetupError(message, error.errno or 0)
