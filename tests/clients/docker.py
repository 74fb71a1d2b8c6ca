"""A Docker engine of our own, and the docker command."""

from __future__ import annotations

import subprocess
from pathlib import Path

from harness.machine import MARK, cgroup_hierarchies

from clients.calls import TIMEOUT_S, Outcome, call, call_on_terminal, wait_until

IMAGE = "busybox"
# dockerd wants "/" to be shared; in a mount namespace of its own nobody else notices.
IN_OWN_MOUNTS = ("unshare", "-m", "--propagation", "unchanged", "sh", "-c",
                 'mount --make-rshared / && exec "$@"', "sh")  # fmt: skip


class Engine:
    """dockerd on private paths, without a network.

    Its runtimes have the names runc and ocirun, the latter is the default.
    """

    def __init__(self, folder: Path, ocirun: str) -> None:
        folder.mkdir()
        self._socket = f"unix://{folder}/d.sock"
        self._parent = f"{MARK}-docker"
        options = (
            *("--data-root", folder / "data", "--exec-root", folder / "exec"),
            *("--pidfile", folder / "pid", "-H", self._socket, "--storage-driver", "overlay2"),
            *("--iptables=false", "--ip6tables=false", "--bridge=none"),
            *("--oom-score-adjust", "0", "--exec-opt", "native.cgroupdriver=cgroupfs"),
            *("--cgroup-parent", f"/{self._parent}", "--add-runtime", f"ocirun={ocirun}"),
            *("--default-runtime", "ocirun"),
        )
        with (folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*IN_OWN_MOUNTS, "dockerd", *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_until(lambda: self.docker("version").code == 0, "dockerd", 30)

    def words(self, *words: str | Path) -> list[str | Path]:
        return ["docker", "-H", self._socket, *words]

    def docker(self, *words: str | Path) -> Outcome:
        return call(*self.words(*words))

    def load(self, archive: Path) -> None:
        self.docker("load", "-i", archive).expect()

    def cgroups(self) -> list[Path]:
        """The cgroups of containers that are there."""
        roots = set(cgroup_hierarchies().values())
        return [path for root in roots for path in root.glob(f"{self._parent}/*/")]

    def stop(self) -> None:
        left = self.docker("ps", "-aq").out.split()
        if left:
            self.docker("rm", "-f", *left)
        self._process.terminate()
        self._process.wait(TIMEOUT_S)
        for hierarchy in set(cgroup_hierarchies().values()):
            if (hierarchy / self._parent).exists():
                (hierarchy / self._parent).rmdir()


class Docker:
    """docker with a runtime chosen; names are made unique for the test that holds it."""

    def __init__(self, engine: Engine, runtime: str, path: str, prefix: str) -> None:
        self.engine = engine
        self.runtime = runtime
        self.path = path
        self.prefix = prefix

    def _run(self, *options: str | Path) -> tuple[str | Path, ...]:
        return ("run", "--network", "none", "--runtime", self.runtime, *options)

    def run(self, *words: str, options: tuple[str | Path, ...] = ()) -> Outcome:
        return self.engine.docker(*self._run("--rm", *options, IMAGE), *words)

    def run_on_terminal(self, *words: str, given: bytes = b"") -> Outcome:
        command = self.engine.words(*self._run("--rm", "-it", IMAGE), *words)
        return call_on_terminal(*command, given=given)

    def start(self, *words: str, options: tuple[str | Path, ...] = (), word: str = "c") -> str:
        """Run a container detached and give its name."""
        name = f"{self.prefix}-{word}"
        command = self._run("-d", "--name", name, *options, IMAGE)
        self.engine.docker(*command, *(words or ("sleep", "1000"))).expect()
        return name

    def __call__(self, *words: str | Path) -> Outcome:
        return self.engine.docker(*words)

    def state(self, name: str, key: str = "Status") -> str:
        return self("inspect", "-f", f"{{{{.State.{key}}}}}", name).expect().out.strip()
