"""A containerd of our own, and ctr."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from harness.machine import MARK, cgroup_hierarchies

from clients.calls import TIMEOUT_S, Outcome, call, call_on_terminal, wait_for_daemon
from clients.images import IMAGE

CONFIG = """\
version = 2
root = "{folder}/root"
state = "{folder}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.snapshotter.v1.aufs", "io.containerd.internal.v1.opt"]
[grpc]
  address = "{folder}/c.sock"
[ttrpc]
  address = "{folder}/c.sock.ttrpc"
"""


class Containerd:
    """A daemon on private paths; containers live in a namespace that carries our mark."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.namespace = MARK
        self.runtime_root = Path("/run/containerd/runc") / self.namespace  # the shim's choice
        folder.mkdir()
        (folder / "config.toml").write_text(CONFIG.format(folder=folder))
        self._start()

    def _start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                ["containerd", "-c", self.folder / "config.toml"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        log_file = self.folder / "log"
        wait_for_daemon(
            self._process, lambda: self.ctr("version").code == 0, log_file, "containerd"
        )

    def words(self, *words: str | Path) -> list[str | Path]:
        return ["ctr", "-a", self.folder / "c.sock", "-n", self.namespace, *words]

    def ctr(self, *words: str | Path, patience: float = TIMEOUT_S) -> Outcome:
        return call(*self.words(*words), patience=patience)

    def load(self, archive: Path) -> None:
        self.ctr("image", "import", archive).expect(0)

    def restart(self, between: Callable[[], None] | None = None) -> None:
        """Stop the daemon, leave its shims alone, start it again; call `between` in between."""
        self._stop_daemon()
        if between is not None:
            between()
        self._start()

    def _stop_daemon(self) -> None:
        self._process.terminate()
        self._process.wait(TIMEOUT_S)

    def containers(self) -> list[str]:
        return self.ctr("container", "ls", "-q").out.split()

    def forget(self, name: str) -> None:
        """Remove a container whatever its state."""
        self.ctr("task", "rm", "-f", name)
        self.ctr("container", "rm", name)

    def stop(self) -> None:
        """Stop everything and remove what containerd and runtimes leave for a namespace."""
        for name in self.containers():
            self.forget(name)
        self._stop_daemon()
        for hierarchy in set(cgroup_hierarchies().values()):
            if (hierarchy / self.namespace).exists():
                (hierarchy / self.namespace).rmdir()
        if self.runtime_root.exists():
            left = [path.name for path in self.runtime_root.iterdir() if path.name[0] != "@"]
            assert not left, f"left in {self.runtime_root}: {left}"
            shutil.rmtree(self.runtime_root)  # "@seccomp" is no container but a cache


class Ctr:
    """ctr with a runtime chosen; names are made unique for the test that holds it."""

    def __init__(self, daemon: Containerd, runtime: str, prefix: str) -> None:
        self.daemon = daemon
        self.runtime = runtime
        self.prefix = prefix

    def name(self, word: str = "c") -> str:
        return f"{self.prefix}-{word}"

    def _run(self, name: str, options: tuple[str | Path, ...]) -> list[str | Path]:
        return self.daemon.words("run", "--runc-binary", self.runtime, *options, IMAGE, name)

    def run(
        self, *words: str | Path, options: tuple[str | Path, ...] = ("--rm",), name: str = "c"
    ) -> Outcome:
        return call(*self._run(self.name(name), options), *words)

    def run_on_terminal(self, *words: str, given: bytes = b"") -> Outcome:
        command = [*self._run(self.name(), ("--rm", "-t")), *words]
        return call_on_terminal(*command, given=given)

    def start(self, *words: str, options: tuple[str | Path, ...] = (), name: str = "c") -> str:
        """Run a container detached and give its name."""
        full = self.name(name)
        call(
            *self._run(full, ("-d", "--null-io", *options)), *(words or ("sleep", "1000"))
        ).expect()
        return full

    def exec(self, name: str, *words: str, options: tuple[str, ...] = ()) -> Outcome:
        return self.daemon.ctr("task", "exec", "--exec-id", "e", *options, name, *words)

    def remove(self, name: str) -> int:
        """Remove a stopped task and give its exit status, which ctr tells in a warning."""
        said = self.task("rm", name).said
        return int(said.rpartition("exit code ")[2].strip(' "\n')) if "exit code" in said else 0

    def task(self, *words: str) -> Outcome:
        return self.daemon.ctr("task", *words)

    def status(self, name: str) -> str:
        """The task's state as `task ls` has it, "" when there is none."""
        for line in self.daemon.ctr("task", "ls").out.splitlines()[1:]:
            if line.split()[0] == name:
                return line.split()[2]
        return ""
