"""Each verb beside runc and crun, from a snapshot and without: alternating runs, medians, ratios.

    python -m tests.bench [--rounds N]      everything: verbs, memory, modules
    python tests/bench/lifecycle.py         the verbs alone

Compare only within one run: the machine is shared and noisy. The ratio is that of the medians.
State roots are in a tmpfs, as /run is: on a disk each verb that removes a file may wait for it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.worker import Timing, Worker
from harness import machine, peers  # the path above comes first
from harness.bundle import Bundle

if TYPE_CHECKING:
    from collections.abc import Callable

    Times = dict[str, dict[str, list[Timing]]]  # verb → contender → one for each round

CYCLE = ("create", "start", "state", "kill", "delete")
# First and second targets of docs/performance.md, as ratios to runc.
TARGETS = dict.fromkeys(("start", "state", "kill", "delete"), (0.60, 0.50))
TARGETS |= dict.fromkeys(("run", "create", "exec"), (0.65, 0.45))
TARGETS["cycle"] = (0.65, 0.50)


COLD = "cold"  # ocirun without its snapshot


def find_cold() -> str:
    """Return the path of the ordinary launcher beside ours.

    Raises:
        FileNotFoundError: ours is the ordinary one.
    """
    path = Path(peers.find_runtime("ours")[1]).with_name("ocirun-cold")
    if not path.exists():
        raise FileNotFoundError("ours has one way to start only")
    return str(path)


class Field:
    """The place of the race: workers, and a bundle of `runc spec`'s default config."""

    def __init__(self, words: list[str]) -> None:
        self.folder = machine.make_session_folder()
        self.roots = Path(tempfile.mkdtemp(prefix=f"{self.folder.name}-", dir="/dev/shm"))
        self.programs = programs = self.folder / "programs"
        programs.mkdir()
        machine.compile_probe(programs)
        shutil.copy(machine.find_busybox(), programs / "busybox")
        (self.folder / "bundle").mkdir()
        self.bundle = Bundle(self.folder / "bundle", programs)
        config = machine.REPO / "tests" / "data" / "configs" / "spec.json"
        self.bundle.config = json.loads(config.read_text())
        self.workers: list[Worker] = []
        for word in words:
            try:
                name, path = (COLD, find_cold()) if word == COLD else peers.find_runtime(word)
            except FileNotFoundError as error:
                print(f"without {word}: {error}")
                continue
            self.workers.append(Worker(name, path, self.folder / name, self.roots / name))

    def set_program(self, *args: str, **resources: Any) -> None:  # noqa: ANN401
        self.bundle.process["args"] = list(args)
        devices = self.bundle.linux["resources"]["devices"]
        self.bundle.linux["resources"] = {"devices": devices} | resources
        self.bundle.save()

    def close(self) -> None:
        for worker in self.workers:
            worker.close()
        shutil.rmtree(self.folder)
        shutil.rmtree(self.roots)


def live_once(worker: Worker, bundle: Path, container_id: str) -> dict[str, Timing]:
    """Let one container live; returns what each verb took."""
    pid_file = worker.folder / "pid"
    took = {"create": worker.must("create", "-b", bundle, "--pid-file", pid_file, container_id)}
    took["start"] = worker.must("start", container_id)
    took["exec"] = worker.must("exec", container_id, "/bin/true")
    took["state"] = worker.must("state", container_id)
    took["kill"] = worker.must("kill", container_id, "KILL")
    _wait_for_end(int(pid_file.read_text()))
    took["delete"] = worker.must("delete", container_id)
    return took


def _wait_for_end(pid: int) -> None:
    end = time.monotonic() + 5
    while time.monotonic() < end:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX":
                return
        except (FileNotFoundError, ProcessLookupError):
            return
        time.sleep(0.001)


def race(field: Field, rounds: int) -> Times:
    """Let the workers alternate; return what each verb of each contender took in each round."""
    times: Times = {}
    for number in range(-1, rounds):  # the first round warms the caches and is not counted
        for worker in list(field.workers):
            name = f"{machine.MARK}-{worker.name}-{number + 1}"
            try:
                field.set_program("/bin/true")
                verbs = {"run": worker.must("run", "-b", field.bundle.path, name)}
                field.set_program("/bin/sleep", "1000")
                verbs |= live_once(worker, field.bundle.path, name)
            except RuntimeError as error:
                print(f"without {worker.name}: {error}")
                worker.run("delete", "--force", name)
                field.workers.remove(worker)
                worker.close()
                continue
            cycle = [verbs[verb] for verb in CYCLE]
            verbs["cycle"] = Timing(
                sum(one.ms for one in cycle),
                0,
                "",
                sum(one.cpu_ms for one in cycle),
                sum(one.faults for one in cycle),
            )
            if number >= 0:
                for verb, timing in verbs.items():
                    times.setdefault(verb, {}).setdefault(worker.name, []).append(timing)
    return times


def print_race(times: Times) -> None:
    """Print three tables of medians: time with the ratios to runc, CPU time, page faults."""
    for title, value, digits in (
        ("median ms", lambda timing: timing.ms, 1),
        ("CPU ms", lambda timing: timing.cpu_ms, 1),
        ("page faults", lambda timing: timing.faults, 0),
    ):
        _print_table(times, title, value, digits)


def _print_table(times: Times, title: str, value: Callable[[Timing], float], digits: int) -> None:
    names = list(next(iter(times.values()), {}))
    rated = [name for name in names if name != "runc"] if "runc" in names else []
    aims = digits == 1 and title == "median ms" and {"ours", "runc"} <= set(names)
    print("\n" + f"{title:12}" + "".join(f"{name:>9}" for name in names), end="")
    print("".join(f"{name + '/runc':>11}" for name in rated), end="")
    print(f"{'first':>8}{'then':>7}" if aims else "")
    for verb in ("run", *CYCLE, "cycle", "exec"):
        medians = {
            name: statistics.median(map(value, found)) for name, found in times[verb].items()
        }
        row = f"{verb:12}" + "".join(f"{medians[name]:9.{digits}f}" for name in names)
        row += "".join(f"{medians[name] / medians['runc']:11.2f}" for name in rated)
        if aims:
            first, then = TARGETS[verb]
            met = "" if medians["ours"] / medians["runc"] <= first else "  above"
            row += f"{first:8.2f}{then:7.2f}{met}"
        print(row)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument(
        "--runtimes", default="ours,cold,runc,crun", help="names or paths, with commas"
    )
    return parser.parse_args()


def main() -> int:
    options = arguments()
    if os.geteuid() != 0:
        print("containers need root: sudo", *sys.argv)
        return 1
    field = Field(options.runtimes.split(","))
    try:
        print_race(race(field, options.rounds))
    finally:
        field.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
