"""Write ocirun/cli/placement.txt: which blocks of a snapshot the processes of each verb need.

    make placement

Builds an ocirun whose snapshot has each block on pages of its own (heap.c, SPREAD_BLOCKS), so that
a page that is written to is a block that is. Containers of `runc spec`'s configuration are run by
it, and the kernel's trace of page faults is read: perf(1) and root are needed.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.lifecycle import Field
from bench.worker import Worker
from harness import machine  # the path above comes first

if TYPE_CHECKING:
    from collections.abc import Iterator

LIST = machine.REPO / "ocirun" / "cli" / "placement.txt"
HEAD = """\
# Written by `make placement` (tests/bench/placement.py), do not edit; what it is for: placement.py.
# Above each part, who writes to its blocks: s start, state, kill, delete; p the parent of create
# and run; i init; e the parent of exec; c its children; l an init that the library's helper has
# cloned. In capitals: who only reads them.
"""
LETTERS = "spiecl"
# The letters of a verb's processes, the last one of all that follow; "-" is not looked at.
VERBS = {
    "create": "pi", "run": "pi", "exec": "ec",
    "start": "s", "state": "s", "kill": "s", "delete": "s",
    "library": "--l",
}  # fmt: skip
# Three times, for what the helper itself writes to between two orders is not init's.
PROGRAM = """\
import sys, ocirun
for _ in range(3):
    ocirun.run(config=sys.argv[1], root=sys.argv[2], check=True)
"""
EVENTS = ("exceptions:page_fault_user", "exceptions:page_fault_kernel")
WRITE = 2  # in the error code of a fault
PAGE_BYTES = 4096
HEADER_BYTES = 8
TRIES = 1000


def build(prefix: Path) -> Path:
    """Install an ocirun with spread blocks below `prefix`; return its program."""
    flags = "--config-settings=setup-args=-Dc_args=-DSPREAD_BLOCKS"
    pip = (sys.executable, "-m", "pip", "install", "-qq", "--no-deps", "--ignore-installed", flags)
    subprocess.run([*pip, "--prefix", prefix, machine.REPO], check=True)
    program = prefix / "bin" / "ocirun"
    subprocess.run([program, "snapshot"], check=True, stdout=subprocess.DEVNULL)
    return program


def names_by_page(prefix: Path) -> dict[int, str]:
    """Return the name of each block by the number of the page it begins on, as they lie.

    Without the texts that are another installation's.
    """
    (file,) = prefix.rglob("placement.names")
    rows = [line.partition(" ") for line in file.read_text(encoding="utf-8").splitlines()]
    found = {
        (int(at, 16) + HEADER_BYTES) // PAGE_BYTES: name
        for at, _, name in rows
        if str(prefix) not in name
    }
    return dict(sorted(found.items()))


def pages_touched(worker: Worker, *command: str | Path) -> Iterator[tuple[int, int, bool]]:
    """Run a command; yield which of its processes touched which page, and whether it wrote to it.

    The kernel maps what it has in memory around a page that is read: so it has nothing.
    """
    with (Path(worker.path).parents[1] / "lib" / "ocirun" / "snapshot").open("rb") as image:
        os.posix_fadvise(image.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    trace = worker.folder / "trace"
    events = [word for event in EVENTS for word in ("-e", event)]
    perf = ["/usr/bin/env", "perf", "record", "-q", *events, "-c", "1", "-o", str(trace)]
    done = worker.run_program(*perf, *command)
    if done.status:
        raise RuntimeError(f"{command}: {done.said}")
    lines = subprocess.run(
        ["perf", "script", "-i", trace, "-F", "comm,pid,event,trace"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    processes: dict[str, int] = {}
    for line in lines:
        fault = re.search(r"^\s*(.*?)\s+(\d+) .*address=(\S+) .*error_code=(0x[0-9a-f]+)", line)
        if fault and not fault[1].startswith("perf"):
            process = processes.setdefault(fault[2], len(processes))
            yield process, int(fault[3], 16) // PAGE_BYTES, bool(int(fault[4], 16) & WRITE)


def letters_by_name(worker: Worker, field: Field, names: dict[int, str]) -> dict[str, str]:
    """Let a container live; return who writes to each block, in capitals who only reads it."""
    found: dict[bool, dict[str, set[str]]] = {True: {}, False: {}}

    def note(verb: str, *words: str | Path) -> None:
        note_program(verb, worker.path, "--root", worker.root, verb, *words)

    def note_program(verb: str, *command: str | Path) -> None:
        letters = VERBS[verb]
        for process, page, is_write in pages_touched(worker, *command):
            letter = letters[min(process, len(letters) - 1)]
            if page in names and letter in LETTERS:
                found[is_write].setdefault(names[page], set()).add(letter)

    name = f"{machine.MARK}-placement"
    field.set_program("true")  # found by PATH, like most programs
    note("run", "-b", field.bundle.path, name)
    (package,) = Path(worker.path).parents[1].rglob("ocirun/aio.py")
    python = ("/usr/bin/env", f"PYTHONPATH={package.parents[1]}", sys.executable, "-P")
    note_program("library", *python, "-c", PROGRAM, field.bundle.path, worker.root)
    field.set_program("/bin/sleep", "1000")
    note("create", "-b", field.bundle.path, name)
    note("start", name)
    note("exec", name, "/bin/true")
    note("state", name)
    note("kill", name, "KILL")
    for _ in range(TRIES):
        if '"stopped"' in worker.must("state", name).said:
            break
    note("delete", name)
    reads, writes = (
        {name: "".join(letter for letter in LETTERS if letter in who) for name, who in one.items()}
        for one in (found[False], found[True])
    )
    return {name: who.upper() for name, who in reads.items()} | writes


def _order(part: str) -> list[bool]:
    """Return a key that puts what is written to first, and what one process has side by side."""
    return [part.isupper(), *(letter not in part.lower() for letter in LETTERS)]


def main() -> int:
    """Build, measure, and write the list."""
    field = Field([])
    try:
        worker = Worker(
            "spread",
            str(build(field.folder / "prefix")),
            field.folder / "spread",
            field.roots / "spread",
        )
        field.workers.append(worker)
        names = names_by_page(field.folder / "prefix")
        letters = letters_by_name(worker, field, names)
    finally:
        field.close()
    parts: dict[str, list[str]] = {}
    for name in dict.fromkeys(names.values()):
        if name in letters:
            parts.setdefault(letters[name], []).append(name)
    with LIST.open("w", encoding="utf-8") as file:
        file.write(HEAD)
        for part in sorted(parts, key=_order):
            file.write("".join(f"{line}\n" for line in (f"[{part}]", *parts[part])))
    print(f"{LIST}: {len(letters)} blocks")
    return 0


if __name__ == "__main__":
    sys.exit(main())
