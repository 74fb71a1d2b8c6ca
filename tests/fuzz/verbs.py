"""Spoiled documents through the real verbs: a program that looks for "internal error".

    python tests/fuzz/verbs.py OCIRUN PROGRAMS FOLDER KIND --count N --seed S

It has to run in namespaces of its own (tests/integration/test_fuzzed_documents.py starts it so): it
kills whatever processes it sees. Everything it makes lies in FOLDER and below cgroups of that name.

Security: `tame` keeps a spoiled document from naming anything of the host: what is bound into a
container, where hooks are looked for, which cgroup and which namespaces are meant.
"""
# ruff: noqa: ANN401, T201  # documents are JSON; nothing is a secret; it prints its findings

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from harness.bundle import MINIMAL, Bundle

from fuzz.mutation import mutate
from fuzz.targets import DOCUMENTS, STATE, TARGETS

TIMEOUT_S = 60.0
NOWHERE = "/nonexistent"
HOOKS = ("/bin/true", "/bin/false", NOWHERE)


class Worker:
    """One run: `count` documents of one `kind`, each of them through the verbs that read it."""

    def __init__(self, ocirun: str, programs: Path, folder: Path, random: Random) -> None:
        self.ocirun = ocirun
        self.root = folder / "state"
        self.decoy = folder / "decoy"
        self.random = random
        self.mark = folder.name
        self.decoy.mkdir()
        (self.decoy / "file").write_text("of the host\n")
        path = folder / "bundle"
        path.mkdir()
        self.bundle = Bundle(path, programs)
        self.bundle.process["args"] = ["/probe", "wait"]
        self.bundle.linux["cgroupsPath"] = self.cgroup
        self.findings: list[dict[str, Any]] = []
        self.document: bytes = b""
        self.said = ""
        self.number = 0

    @property
    def cgroup(self) -> str:
        return f"/{self.mark}-fuzz/a"

    def call(self, *arguments: str) -> int:
        """Run a verb; what it may never say is a finding."""
        argv = [self.ocirun, "--root", str(self.root), *arguments]
        # Files, not pipes: a container that is left behind would hold them open.
        with (self.root.parent / "said").open("w+b") as said:
            process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=said, stderr=said, cwd=self.bundle.path
            )
            status = process.returncode = reap_until(process.pid, TIMEOUT_S)
            said.seek(0)
            text = said.read().decode(errors="replace")
        if status is None:
            status, text = -1, "it did not end"
        self.said = text[-2000:]
        if status < 0 or any(words in text for words in ("internal error", "Traceback (most")):
            self.findings.append(
                {
                    "verb": " ".join(arguments),
                    "status": status,
                    "said": text[-4000:],
                    "document": self.document.decode(errors="surrogateescape"),
                }
            )
        return status

    def spoil(self, base: Any, target: str) -> bytes:
        """Return `base` with changes that stay away from the host."""
        data = mutate(self.random, json.dumps(base).encode(), TARGETS[target].pieces, is_json=True)
        try:
            document = json.loads(data)
        except (ValueError, RecursionError):
            self.document = data  # it is refused as a whole
        else:
            self.document = json.dumps(self.tame(document)).encode()
        return self.document

    def tame(self, value: Any, names: tuple[str, ...] = ()) -> Any:  # noqa: PLR0911  # a table
        """Return `value` without anything that names what is not ours; `names` lead there."""
        if isinstance(value, dict):
            return {
                name: self.tame(member, (*names, name.lower())) for name, member in value.items()
            }
        if isinstance(value, list):
            return [self.tame(item, names) for item in value]
        if not isinstance(value, str):
            return value
        last = names[-1] if names else ""
        if "hooks" in names and last == "path":
            return value if value in HOOKS else self.random.choice(HOOKS) if value else ""
        if "namespaces" in names and last == "path":
            return NOWHERE if value else ""
        if "root" in names and last == "path":
            return "rootfs" if value else ""
        if last == "cgroupspath":
            return self.cgroup
        if "cgroup_paths" in names:
            ours = value.startswith("/sys/fs/cgroup/") and self.mark in value and ".." not in value
            return value if ours else NOWHERE
        if last in ("systemd_unit", "cgroup_manager"):
            return value if value in ("", "cgroupfs", "disabled") else ""
        if last.startswith("intel_rdt"):
            return NOWHERE if value else ""
        inside = last in ("source", "bundle", "rootfs", "listenerpath") or "annotations" in names
        if inside and ("/" in value or ".." in value):
            ours = value.startswith(str(self.bundle.path)) and ".." not in value
            return value if ours else str(self.decoy)
        return value

    def new_id(self) -> str:
        self.number += 1
        return f"{self.mark}-{self.number}"

    def clear(self) -> None:
        """Kill whatever is left of a container: we are the only process that shall be here."""
        for name in os.listdir("/proc"):
            if name.isdecimal() and int(name) > 1:
                try:
                    os.kill(int(name), signal.SIGKILL)
                except ProcessLookupError:
                    continue
        try:
            while os.waitpid(-1, 0):
                continue
        except ChildProcessError:
            return

    def container(self) -> str:
        """Make a container that runs."""
        self.bundle.save()
        name = self.new_id()
        self.document = b"{}"
        assert self.call("create", "-b", str(self.bundle.path), name) == 0, self.findings
        assert self.call("start", name) == 0, self.findings
        return name

    # --- kinds ------------------------------------------------------------------------------------

    def config(self) -> None:
        """config.json: create, and what may come after it."""
        base = self.random.choice(
            [json.loads(path.read_bytes()) for path in sorted(DOCUMENTS.glob("*.json"))]
            + [MINIMAL] * 8
        )
        base = json.loads(json.dumps(base))
        base["root"] = {"path": "rootfs"}
        base["hooks"] = {"poststop": [{"path": "/bin/true", "env": ["A=b"], "timeout": 5}],
                         "createRuntime": [{"path": "/bin/true"}]}  # fmt: skip
        base.setdefault("linux", {})["cgroupsPath"] = self.cgroup
        base["process"]["args"] = ["/bin/true"]
        base = self.tame(base)
        (self.bundle.path / "config.json").write_bytes(self.spoil(base, "config"))
        name = self.new_id()
        if self.call("create", "-b", str(self.bundle.path), name) == 0:
            self.call("state", name)
            self.call("delete", name)
        self.call("delete", "--force", name)
        self.clear()

    def exec(self) -> None:
        """process.json."""
        base = {**MINIMAL["process"], "args": ["/bin/true"], "capabilities": {"bounding": []},
                "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 64, "hard": 64}],
                "execCPUAffinity": {"initial": "0", "final": "0"}, "oomScoreAdj": 0,
                "scheduler": {"policy": "SCHED_OTHER", "nice": 1},
                "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 4}}  # fmt: skip
        name = self.container()
        file = self.bundle.path / "process.json"
        for _ in range(10):
            file.write_bytes(self.spoil(base, "process"))
            self.call("exec", "--detach", "--process", str(file), name)
        self.call("delete", "--force", name)
        self.clear()

    def update(self) -> None:
        """The document of update."""
        base = json.loads((DOCUMENTS / "everything.json").read_bytes())["linux"]["resources"]
        small = {"pids": {"limit": 50}, "cpu": {"shares": 100}, "memory": {"limit": 1 << 28}}
        name = self.container()
        file = self.bundle.path / "resources.json"
        for _ in range(10):
            file.write_bytes(self.spoil(self.random.choice((base, small)), "resources"))
            self.call("update", "--resources", str(file), name)
        self.call("delete", "--force", name)
        self.clear()

    def mounts(self) -> None:
        """The list of `mounts add` and `mounts remove`."""
        base = [
            {"destination": "/mnt/a", "type": "tmpfs", "source": "tmpfs", "options": ["ro"]},
            {"destination": "/mnt/b", "source": str(self.decoy), "options": ["bind", "ro"]},
        ]
        name = self.container()
        file = self.bundle.path / "mounts.json"
        for _ in range(10):
            file.write_bytes(self.spoil(base, "config"))
            self.call("mounts", self.random.choice(("add", "remove")), name, str(file))
        self.call("delete", "--force", name)
        self.clear()

    def records(self) -> None:
        """state.json and the kept configuration, which every other verb reads."""
        name = self.container()
        file = self.root / name / self.random.choice(("state.json", "config.json"))
        kind = "state" if file.name == "state.json" else "kept-config"
        base = json.loads(file.read_bytes())
        if kind == "state":
            base = {**STATE, **base}
        else:
            base["hooks"] = {"poststop": [{"path": "/bin/true"}]}
        file.write_bytes(self.spoil(base, kind))
        self.call("state", name)
        self.call("list")
        self.call("ps", name)
        self.call("exec", "--detach", name, "/bin/true")
        self.call("update", "--pids-limit", "40", name)
        self.call("events", "--stats", name)
        self.call("pause", name)
        self.call("resume", name)
        self.call("kill", name, "CONT")
        self.call("delete", name)
        self.call("delete", "--force", name)
        if (self.root / name).exists():
            self.findings.append(
                {"verb": "delete --force", "status": 1, "said": f"it is still there: {self.said}",
                 "document": self.document.decode(errors="surrogateescape")}
            )  # fmt: skip
        self.clear()


def reap_until(pid: int, seconds: float) -> int | None:
    """Wait for the child `pid` and return its exit code; None for one that had to be killed.

    Kernel: the init of a pid namespace is not gone before every process in it has been reaped, and
    those of `exec --detach` are our children.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found, status = os.waitpid(-1, os.WNOHANG)
        if found == pid:
            return os.waitstatus_to_exitcode(status)
        if not found:
            time.sleep(0.002)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return None


KINDS: dict[str, Callable[[Worker], None]] = {
    "config": Worker.config,
    "exec": Worker.exec,
    "update": Worker.update,
    "mounts": Worker.mounts,
    "records": Worker.records,
}


def main() -> None:
    """Print the findings as one JSON list."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("ocirun")
    parser.add_argument("programs", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--count", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if os.getpid() != 1:
        parser.error("not in a pid namespace of its own")
    random = Random(options.seed)
    worker = Worker(options.ocirun, options.programs, options.folder, random)
    for _ in range(options.count):
        KINDS[options.kind](worker)
    print(json.dumps(worker.findings))


if __name__ == "__main__":
    main()
