"""The library against spawning crun from Python: create, start, wait and delete of `true`.

    python tests/bench/library.py [--rounds N]

CPU is that of this program, its helper and the processes it waits for; wall is from first call to
last. State roots are in a tmpfs, as /run is.
Alternating, medians; once from one thread, once beside three that do something.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from harness import machine, peers  # the path above comes first
from harness.bundle import Bundle

import ocirun

if TYPE_CHECKING:
    from collections.abc import Callable

AIMS = (1.0, 0.6)  # of crun's CPU and wall time


def cpu_s() -> float:
    """Return the seconds that this program, its children that are gone, and its helper took."""
    gone = sum(
        used.ru_utime + used.ru_stime
        for used in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )
    pids = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return gone + sum(_running_s(pid) for pid in pids)


def _running_s(pid: str) -> float:
    nanoseconds = Path(f"/proc/{pid}/schedstat").read_text().split()[0]
    return int(nanoseconds) / 1e9


def measure(act: Callable[[], object]) -> tuple[float, float]:
    """Return CPU and wall milliseconds of one call."""
    wall, cpu = time.perf_counter(), cpu_s()
    act()
    return (cpu_s() - cpu) * 1000, (time.perf_counter() - wall) * 1000


def make_bundle(folder: Path) -> Bundle:
    programs = folder / "programs"
    programs.mkdir()
    machine.compile_probe(programs)
    (programs / "busybox").write_bytes(Path(machine.find_busybox()).read_bytes())
    (programs / "busybox").chmod(0o755)
    (folder / "bundle").mkdir()
    bundle = Bundle(folder / "bundle", programs)
    config = machine.REPO / "tests" / "data" / "configs" / "spec.json"
    bundle.config = json.loads(config.read_text())
    bundle.process["args"] = ["true"]
    bundle.process["terminal"] = False
    bundle.save()
    return bundle


def contenders(folder: Path, roots: str, bundle: Bundle) -> dict[str, Callable[[], object]]:
    count = 0
    crun = peers.find_runtime("crun")[1]

    def name() -> str:
        nonlocal count
        count += 1
        return f"{folder.name}-{count}"

    def library() -> None:
        container = ocirun.Container.create(name(), bundle.path, root=f"{roots}/ocirun")
        container.start()
        assert container.wait() == 0
        container.delete()

    def spawned() -> None:
        words = [crun, "--root", f"{roots}/crun", "run", "--bundle", str(bundle.path), name()]
        subprocess.run(words, check=True, stdin=subprocess.DEVNULL, capture_output=True)

    def run() -> None:
        done = ocirun.run(
            config=bundle.path, container_id=name(), root=f"{roots}/ocirun",
            stdin=ocirun.DEVNULL, capture_output=True, check=True,
        )  # fmt: skip
        assert done.returncode == 0

    return {"library": library, "ocirun.run": run, "crun": spawned}


def print_library(rounds: int) -> None:
    """Measure, and print a table."""
    machine.leave_unified_tree()
    folder = machine.make_session_folder()
    roots = tempfile.mkdtemp(prefix=f"{folder.name}-", dir="/dev/shm")
    runners = contenders(folder, roots, make_bundle(folder))
    stop = threading.Event()
    others = [threading.Thread(target=lambda: stop.wait(None)) for _ in range(3)]
    print("\ncreate + start + wait + delete of `true`, ms    CPU   wall   (ratio to crun)")
    try:
        for title in ("one thread", "four threads"):
            found: dict[str, list[tuple[float, float]]] = {name: [] for name in runners}
            for turn in range(rounds + 1):
                for name, act in runners.items():
                    timing = measure(act)
                    if turn:  # the first one imports
                        found[name].append(timing)
            medians = {
                name: [statistics.median(one[at] for one in timings) for at in (0, 1)]
                for name, timings in found.items()
            }
            for name, (cpu, wall) in medians.items():
                ratios = [a / b for a, b in zip((cpu, wall), medians["crun"], strict=True)]
                words = f"({ratios[0]:.2f}, {ratios[1]:.2f}; aim {AIMS[0]}, {AIMS[1]})"
                print(f"{title:14}{name:12}{cpu:24.1f}{wall:7.1f}   {words}")
            if title == "one thread":
                for other in others:
                    other.start()
    finally:
        stop.set()
        subprocess.run(["rm", "-r", str(folder), roots], check=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=25)
    print_library(parser.parse_args().rounds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
