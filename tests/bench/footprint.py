"""The smallest memory limit that starts, peak memory, modules, system calls."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import sysconfig

from bench.lifecycle import CYCLE, Field
from bench.worker import Worker
from harness import machine

LIMITS_KIB = (256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096, 6144, 8192, 12288, 16384)
TRIES = 3


def smallest_limit_kib(field: Field, worker: Worker) -> int | None:
    """Find the smallest memory.limit under which /bin/true runs each of several times."""
    for limit in LIMITS_KIB:
        field.set_program("/bin/true", memory={"limit": limit * 1024})
        good = 0
        for number in range(TRIES):
            name = f"{machine.MARK}-{worker.name}-l{limit}-{number}"
            if worker.run("run", "-b", field.bundle.path, name).status:
                worker.run("delete", "--force", name)
                break
            good += 1
        if good == TRIES:
            return limit
    return None


def peak_mib(field: Field, worker: Worker) -> float:
    """Median peak resident size of `run`: the largest process of it.

    Measured by the probe: what a Python process spawns starts with Python's own peak.
    """
    field.set_program("/bin/true")
    found = []
    for number in range(5):
        name = f"{machine.MARK}-{worker.name}-p{number}"
        place = worker.folder / "peak"
        words = ("--root", worker.root, "run", "-b", field.bundle.path, name)
        worker.run_program(field.programs / "probe", "measure", place, worker.path, *words)
        found.append(int(place.read_text()) / 1024)
    return statistics.median(found)


def system_calls(field: Field, worker: Worker) -> int | None:
    """Count the system calls of `run` and all its processes; None without strace."""
    strace = shutil.which("strace")
    if strace is None:
        return None
    field.set_program("/bin/true")
    trace = worker.folder / "trace"
    name = f"{machine.MARK}-{worker.name}-s"
    words = ["--root", str(worker.root), "run", "-b", str(field.bundle.path), name]
    done = subprocess.run(
        [strace, "-f", "-qq", "-o", str(trace), worker.path, *words],
        check=False,
        capture_output=True,
    )
    if done.returncode:
        return None
    return sum("(" in line for line in trace.read_text(errors="replace").splitlines())


def modules(verb: str) -> list[str]:
    """Modules a verb adds to a bare interpreter; empty when ocirun is not in this environment."""
    site = sysconfig.get_path("platlib")
    program = (
        f"import sys; sys.path.append({site!r}); before = set(sys.modules); "
        f"import ocirun.cli.launcher, ocirun.cli.commands.{verb}; "
        "print(*(set(sys.modules) - before))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, check=False
    )
    return done.stdout.split()


def print_footprint(field: Field) -> None:
    """Print what each contender takes."""
    print(f"\n{'':12}{'limit KiB':>11}{'peak MiB':>10}{'syscalls':>10}")
    for worker in field.workers:
        limit = smallest_limit_kib(field, worker) or "none"
        calls = system_calls(field, worker) if worker.name != "crun" else None
        print(f"{worker.name:12}{limit:>11}{peak_mib(field, worker):>10.1f}{calls or '-':>10}")


def print_modules() -> None:
    """Print how many modules each verb of ocirun imports."""
    print(f"\n{'modules':12}{'ours':>6}{'others':>8}   the others")
    for verb in ("run", *CYCLE):
        added = modules(verb)
        others = sorted(name for name in added if name.split(".")[0] != "ocirun")
        print(f"{verb:12}{len(added) - len(others):>6}{len(others):>8}   {' '.join(others)}")
