"""Raw records of this process, in memory that a command shares with the processes it clones.

Init cannot write to a file: it has none of the host's once it is in its root, and a descriptor kept
for that would be one that a container might get hold of. So records go to anonymous shared memory,
which is mapped before the clone, has no name and no descriptor, and is gone with execve. What init
wrote before it was killed is there all the same.

The memory is cut into slots: the command has the first, each process it clones one of the next, and
so on (`_child_slot`), so that nobody needs a lock. The command reads the slots when it writes the
file. Security: init may be anybody by then; what it wrote is checked like any message (render.py).

A record is a line of JSON, a list that begins with its kind:

    ["c", call, begin, end, result, errno, arguments, place]     a system call has returned
    ["x", call, begin, arguments, place]                        one begins that may not return
    ["b", begin, category, name, details]                       a span begins
    ["e", end, error]                                           the innermost one ends
    ["m", verb, message, begin, end, descriptors, error]        a message was sent or received
    ["p", time, pid, namespaces]                                a process has begun
    ["n", time, namespaces]                                     its namespaces have changed
    ["k", slot, pid, time]                                      a process was cloned

Times are nanoseconds since 1970: the only clock that time namespaces leave alone.

Source: mmap(2), clock_gettime(2), time_namespaces(7).
"""

from __future__ import annotations

import mmap
import os
import time

from ocirun.errors import doing
from ocirun.spec.jsontext import compact

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any, Final

SLOT_BYTES: Final = 1 << 19  # some 2500 records
HEADER_BYTES: Final = 16  # bytes used, records left out: two little-endian numbers
CHILDREN: Final = 4  # of the command
GRANDCHILDREN: Final = 2  # of each of its children
SLOTS: Final = 1 + CHILDREN + CHILDREN * GRANDCHILDREN
MAX_RECORDS: Final = 200_000  # of the command itself
MAX_TEXT: Final = 1000  # characters of one argument
MAX_ARGS: Final = 32  # words of a command line
CLOCK: Final = "/sys/devices/system/clocksource/clocksource0/current_clocksource"
FAST_CLOCKS: Final = ("tsc", "kvm-clock", "hyperv_clocksource_tsc_page", "arch_sys_counter")
SECRETS: Final = ("pass", "pw", "secret", "key", "cred", "token")
HIDDEN: Final = "(hidden)"
NAMESPACES: Final = ("cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts")

now = time.time_ns


class Recorder:
    """Records of this process; owns the shared memory, which lasts until it ends.

    `slot` is this process's, 0 for the command. `paused` leaves system calls out.
    """

    def __init__(self) -> None:
        self.slot = 0
        self.paused = False
        self.lines: list[bytes] = []  # of the command, which needs no shared memory
        self.left_out = 0
        self._cloned = 0
        self._used = 0
        # Memory: populated here. Pages that init were the first to touch would count as the
        # container's, whose limit may be small.
        flags = mmap.MAP_SHARED | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE
        with doing("getting memory for the trace"):
            self._memory = mmap.mmap(-1, (SLOTS - 1) * SLOT_BYTES, flags)
        self._readlink = os.readlink  # not the one that will be recorded
        self.stops_at_filter = not _has_fast_clock()

    def record(self, *fields: object) -> None:
        """Keep one record; count it if there is no room."""
        line: str = compact(list(fields))
        data = line.encode("utf-8", "replace")  # never an error: we are inside of a container
        if self.slot == 0:
            if len(self.lines) < MAX_RECORDS:
                self.lines.append(data)
            else:
                self.left_out += 1
            return
        if self.slot < 0:
            return
        start = (self.slot - 1) * SLOT_BYTES
        at = HEADER_BYTES + self._used
        if at + len(data) + 1 > SLOT_BYTES:
            self.left_out += 1
            self._memory[start + 8 : start + 16] = self.left_out.to_bytes(8, "little")
            return
        self._memory[start + at : start + at + len(data) + 1] = data + b"\n"
        self._used += len(data) + 1
        # Order: counted when it is whole, so that a process that dies leaves no half of a record.
        self._memory[start : start + 8] = self._used.to_bytes(8, "little")

    def next_slot(self) -> int:
        """Return the slot of the process that is about to be cloned; -1 if there is none left."""
        self._cloned += 1
        return _child_slot(self.slot, self._cloned)

    def become(self, slot: int) -> None:
        """Record as the process that `slot` is for: called in a process just cloned."""
        self.slot = slot
        self.lines = []
        self.left_out = self._used = self._cloned = 0
        self.record("p", now(), os.getpid(), self.namespaces())

    def read_slot(self, slot: int) -> tuple[list[bytes], int]:
        """Return the records of a process, and how many it had to leave out."""
        if slot == 0:
            return self.lines, self.left_out
        start = (slot - 1) * SLOT_BYTES
        used = int.from_bytes(self._memory[start : start + 8], "little")
        left_out = int.from_bytes(self._memory[start + 8 : start + 16], "little")
        used = min(used, SLOT_BYTES - HEADER_BYTES)
        data = self._memory[start + HEADER_BYTES : start + HEADER_BYTES + used]
        return data.splitlines(), min(left_out, 1 << 32)

    def namespaces(self) -> dict[str, int]:
        """Return the numbers of this process's namespaces, as far as /proc shows them."""
        found = {}
        for name in NAMESPACES:
            try:
                text = self._readlink(f"/proc/self/ns/{name}")
                found[name] = int(text.partition("[")[2].rstrip("]"))
            except (OSError, ValueError):  # not dumpable, or /proc is somebody else's
                continue
        return found


def _child_slot(parent: int, count: int) -> int:
    """Return the slot of the `count`th process that the one in slot `parent` clones, or -1."""
    if parent == 0 and count <= CHILDREN:
        return count
    if 0 < parent <= CHILDREN and count <= GRANDCHILDREN:
        return CHILDREN + (parent - 1) * GRANDCHILDREN + count
    return -1


def place(frame: FrameType | None) -> str:
    """Return "file:line" of the code that called into kernel/ or `os`, as code objects name files.

    `frame` is that of the wrapper.
    """
    while frame is not None:
        name = frame.f_code.co_filename
        if name.startswith("<frozen ocirun."):
            if not name.startswith(("<frozen ocirun.kernel.", "<frozen ocirun.trace.")):
                return f"{name}:{frame.f_lineno}"
        elif "/ocirun/" in name and not name.endswith(".so"):
            folder = name.rpartition("/ocirun/")[2].partition("/")[0]
            if folder not in ("kernel", "trace"):
                return f"{name}:{frame.f_lineno}"
        frame = frame.f_back
    return ""


def shown(kinds: list[tuple[str, str]], arguments: tuple[Any, ...]) -> list[object]:
    """Return what of a call's `arguments` is recorded: see calls.py."""
    out: list[object] = []
    for (_, kind), value in zip(kinds, arguments, strict=False):
        if kind == "":
            continue
        if value is None or isinstance(value, int):
            out.append(value)
        elif kind in ("size", "count"):
            out.append(len(value))
        elif kind == "args":
            out.append([text(word) for word in value[:MAX_ARGS]])
        elif kind == "option" and _is_secret(str(out[-1])):
            out.append(HIDDEN)
        elif kind == "data":
            out.append(",".join(_without_secret(word) for word in text(value).split(",")))
        else:
            out.append(text(value) if isinstance(value, str | bytes) else type(value).__name__)
    return out


def _without_secret(option: str) -> str:
    name, equals, _ = option.partition("=")
    return f"{name}={HIDDEN}" if equals and _is_secret(name) else option


def _is_secret(name: str) -> bool:
    """Return whether the value of a mount option may be one: `password` of cifs, say."""
    return any(word in name.lower() for word in SECRETS)


def text(value: object) -> str:
    """Return a path or a word as text of limited length."""
    word = os.fsdecode(value) if isinstance(value, bytes) else str(value)
    return word if len(word) <= MAX_TEXT else word[: MAX_TEXT - 1] + "…"


def _has_fast_clock() -> bool:
    """Return whether reading the clock is no system call, which a filter could forbid."""
    try:
        with open(CLOCK) as file:
            return file.read().strip() in FAST_CLOCKS
    except OSError:
        return False
