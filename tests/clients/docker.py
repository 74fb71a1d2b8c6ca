"""A Docker engine of our own, and the docker command."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from harness.machine import MARK, cgroup_hierarchies

from clients.calls import TIMEOUT_S, Outcome, call, call_on_terminal, wait_for_daemon

IMAGE = "busybox"
# Debian's command has the engine's age and builds with BuildKit by itself; a newer one, which may
# come first in PATH, would need a plugin for that.
INSTALLED = "/usr/bin/docker"
DOCKER = INSTALLED if Path(INSTALLED).exists() and "DOCKER" not in os.environ else "docker"
# dockerd wants "/" to be shared; in a mount namespace of its own nobody else notices.
IN_OWN_MOUNTS = ("unshare", "-m", "--propagation", "unchanged", "sh", "-c",
                 "mount --make-rshared / && echo ready && exec sleep infinity")  # fmt: skip


def _own_score() -> tuple[str, ...]:
    """Return the option of an engine without a score of its own; 25 has neither any more.

    Before, it takes CAP_SYS_RESOURCE to have the score that it wants.
    """
    said = call("dockerd", "--version").out  # Docker version 20.10.24+dfsg1, build 297e128
    major = int(said.split()[2].partition(".")[0])
    return ("--oom-score-adjust", "0") if major < 25 else ()


class Engine:
    """dockerd on private paths, in the session's network namespace.

    Its runtimes have the names runc and ocirun, the latter is the default. BuildKit runs whatever
    the name `runc` in dockerd's PATH means: `programs`, a folder, comes first in there.
    """

    def __init__(self, folder: Path, ocirun: str, programs: Path | None = None) -> None:
        folder.mkdir()
        self.folder = folder
        self.socket = f"unix://{folder}/d.sock"
        self._parent = f"{MARK}-{folder.name}"
        self._env = {**os.environ, "PATH": f"{programs or ''}:{os.environ['PATH']}".lstrip(":")}
        plugins = Path(os.environ.get("DOCKER", ""), "cli-plugins").absolute()
        (folder / "config.json").write_text(json.dumps({"cliPluginsExtraDirs": [str(plugins)]}))
        network = ("--bridge=none", "--iptables=false") if programs else ("--bip", "10.86.0.1/16")
        self._options = (
            *("--data-root", folder / "data", "--exec-root", folder / "exec"),
            *("--pidfile", folder / "pid", "-H", self.socket, "--storage-driver", "overlay2"),
            *("--ip6tables=false", *network, "--live-restore"),
            *_own_score(),
            *("--exec-opt", "native.cgroupdriver=cgroupfs"),
            *("--cgroup-parent", f"/{self._parent}", "--add-runtime", f"ocirun={ocirun}"),
            *("--default-runtime", "ocirun"),
        )
        # It outlives the daemon, as the host's mount namespace does: containers stay in there.
        self._mounts = subprocess.Popen(IN_OWN_MOUNTS, stdout=subprocess.PIPE)
        assert self._mounts.stdout is not None
        assert self._mounts.stdout.readline() == b"ready\n"
        self._start()

    def _start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                ["nsenter", "-t", str(self._mounts.pid), "-m", "dockerd", *self._options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=self._env,
            )
        log_file = self.folder / "log"
        wait_for_daemon(
            self._process, lambda: self.docker("version").code == 0, log_file, "dockerd"
        )

    def restart(self) -> None:
        """Stop the daemon, and containerd with it; leave the containers alone; start it again."""
        self._process.terminate()
        self._process.wait(TIMEOUT_S)
        self._start()

    def words(self, *words: str | Path) -> list[str | Path]:
        return [DOCKER, "-H", self.socket, *words]

    def docker(self, *words: str | Path, env: dict[str, str] | None = None) -> Outcome:
        return call(*self.words(*words), env={"DOCKER_CONFIG": str(self.folder), **(env or {})})

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
        with self._mounts as mounts:
            mounts.kill()
        for hierarchy in set(cgroup_hierarchies().values()):
            for path in sorted(hierarchy.glob(f"{self._parent}/**/"), reverse=True):
                path.rmdir()  # BuildKit leaves one


class Docker:
    """docker with a runtime chosen; names are made unique for the test that holds it."""

    def __init__(self, engine: Engine, runtime: str, path: str, prefix: str) -> None:
        self.engine = engine
        self.runtime = runtime
        self.path = path
        self.prefix = prefix

    def _run(self, *options: str | Path) -> tuple[str | Path, ...]:
        network = () if "--network" in options else ("--network", "none")
        return ("run", *network, "--runtime", self.runtime, *options)

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
