"""A long run: containers come and go in one process, and nothing of them may stay.

    python tests/soak --minutes 30        also: make soak MINUTES=30

Several threads let containers live and die, fail to be created, to be started and to be entered,
all by `ocirun.Container` in this one process. Every few seconds they come to rest, and then the
machine must be as it was before: no process, no cgroup, no mount, no folder, not one descriptor
more. Memory may grow while caches fill, in the first fifth of the time; then no more.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import threading
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from harness import leaks, machine, peers  # the path above comes first
from harness.bundle import Bundle
from soak.worker import Worker

THREADS = 4
REST_EVERY_S = 10.0
WARM_PART = 0.2
SLACK_KIB = 3072  # what the allocator may have taken since, and not given back
FORKING = "while true; do sleep 0.001; done"


class Measure:
    """What there is of us on the machine; equal measures are wanted."""

    def __init__(self, root: Path) -> None:
        leaks.reap(set())
        self.descriptors = len(leaks.open_fds())
        self.processes = len(leaks.descendants())
        self.cgroups = len(leaks.cgroups())
        self.mounts = len(leaks.mounts())
        names = os.listdir(root) if root.exists() else []
        self.folders = len([name for name in names if name[0] != "@"])

    def grown(self, before: Measure) -> list[str]:
        """Return what there is more of than before."""
        mine, theirs = vars(self), vars(before)
        return [
            f"{name}: {theirs[name]} → {mine[name]}" for name in mine if mine[name] > theirs[name]
        ]


def memory_kib() -> int:
    """Read how much of this process is in memory."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return 0


def make_bundles(folder: Path) -> dict[str, Path]:
    """Make a bundle for each kind of life."""
    programs = folder / "programs"
    programs.mkdir()
    machine.compile_probe(programs)
    shutil.copy(machine.find_busybox(), programs / "busybox")
    found = {}
    for name, args in {
        "waits": ["/probe", "wait"],
        "forks": ["/bin/sh", "-c", FORKING],
        "ends": ["/bin/sh", "-c", "exit 7"],
        "broken": ["/bin/true"],
        "bad-hook": ["/bin/true"],
    }.items():
        (folder / name).mkdir()
        bundle = Bundle(folder / name, programs)
        bundle.process["args"] = args
        bundle.linux["resources"] = {"pids": {"limit": 20}}
        if name == "broken":
            bundle.add_mount("/data", "bind", str(folder / "not-there"), "bind")
        if name == "bad-hook":
            bundle.config["hooks"] = {"startContainer": [{"path": "/bin/false"}]}
        bundle.save()
        found[name] = bundle.path
    return found


def come_to_rest(root: Path, before: Measure) -> Measure:
    """Measure when the dying are dead, or after some seconds."""
    end = time.monotonic() + leaks.GRACE_S
    while (measure := Measure(root)).grown(before) and time.monotonic() < end:
        time.sleep(0.02)
    return measure


def soak(minutes: float, folder: Path) -> int:
    """Run for so long; print what was done; returns the exit status."""
    root = folder / "state"
    command = peers.find_runtime("ours")[1]
    bundles = make_bundles(folder)
    workers = [Worker(f"w{n}", bundles, root, command) for n in range(THREADS)]
    before = Measure(root)
    begin = time.monotonic()
    end = begin + minutes * 60
    warm = 0
    problems: list[str] = []
    while not problems and (now := time.monotonic()) < end:
        until = min(now + REST_EVERY_S, end)
        threads = [threading.Thread(target=worker.work, args=(until,)) for worker in workers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        problems += [f"{w.name}: {w.failure!r}" for w in workers if w.failure is not None]
        problems += come_to_rest(root, before).grown(before)
        if not warm or time.monotonic() < begin + (end - begin) * WARM_PART:
            warm = memory_kib()
    if (now_kib := memory_kib()) > warm + SLACK_KIB:
        problems.append(f"memory: {warm} KiB → {now_kib} KiB")
    done: Counter[str] = sum((worker.done for worker in workers), Counter())
    spent = time.monotonic() - begin
    summary = {
        "seconds": round(spent),
        **done,
        "memory KiB": [warm, now_kib],
        "descriptors": [before.descriptors, len(leaks.open_fds())],
        "grown": problems,
    }
    print("soak:", json.dumps(summary, ensure_ascii=False), file=sys.stderr)
    return 1 if problems else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--minutes", type=float, default=30)
    minutes = parser.parse_args().minutes
    if os.geteuid() != 0:
        print("containers need root: sudo", *sys.argv)
        return 1
    machine.become_subreaper()
    # The containers have our stdio, and some of them are talkative.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    folder = machine.make_session_folder()
    try:
        return soak(minutes, folder)
    finally:
        leaks.Leaks(folder / "state").check()
        shutil.rmtree(folder)


if __name__ == "__main__":
    sys.exit(main())
