"""podman with storage of its own."""

from __future__ import annotations

import os
from pathlib import Path

from harness.machine import MARK, cgroup_hierarchies
from harness.user import User

from clients.calls import Outcome, call, call_on_terminal
from clients.images import IMAGE, PAUSE_IMAGE
from ocirun.spec.capabilities import CAPABILITIES

PARENT = f"/{MARK}-podman"
# podman looks for conmon and netavark in fixed places, so those beside a podman named by path are
# named as well.
HELPERS = Path(os.environ.get("PODMAN", "/usr/bin")).absolute()
# Limits no higher than a development machine's own. podman knows by its name what a runtime can do.
CONFIG = f"""\
[containers]
default_ulimits = ["nofile=20000:20000", "nproc=30000:30000"]
log_driver = "k8s-file"
cgroups = "no-conmon"
apparmor_profile = ""
[engine]
infra_image = "{PAUSE_IMAGE}"
conmon_path = ["{HELPERS}/conmon", "/usr/bin/conmon"]
helper_binaries_dir = ["{HELPERS}", "/usr/libexec/podman", "/usr/lib/podman"]
runtime_supports_json = ["crun", "runc", "ocirun"]
runtime_supports_nocgroups = ["crun", "ocirun"]
runtime_supports_nocgroup = ["crun", "ocirun"]  # podman 4's misspelling
"""


class Podman:
    """podman with a runtime; `prefix` makes the names of one test unique.

    It works in the folder, because conmon writes a file `oom` into its working directory.
    """

    def __init__(self, folder: Path, runtime: str, prefix: str = "") -> None:
        self._folder = folder
        self.runtime = runtime
        self.prefix = prefix
        folder.mkdir(exist_ok=True)
        (folder / "containers.conf").write_text(CONFIG)
        self._env = {
            "CONTAINERS_CONF": str(folder / "containers.conf"),
            "PODMAN_IGNORE_CGROUPSV1_WARNING": "1",  # podman 5's, on stderr
        }

    def _words(self, *words: str | Path) -> list[str | Path]:
        place = self._folder
        return [
            *("podman", "--runtime", self.runtime, "--root", place / "root"),
            *("--runroot", place / "run", "--tmpdir", place / "tmp"),
            *("--storage-driver", "overlay", "--events-backend", "file"),
            *("--cgroup-manager", "cgroupfs", *words),
        ]

    def __call__(self, *words: str | Path) -> Outcome:
        return call(*self._words(*words), env=self._env, folder=self._folder)

    def on_terminal(self, *words: str | Path, given: bytes = b"") -> Outcome:
        settings = (f"{name}={value}" for name, value in self._env.items())
        command = ("env", *settings, *self._words(*words))
        return call_on_terminal(*command, given=given, folder=self._folder)

    def _run(self, *options: str | Path) -> tuple[str | Path, ...]:
        network = () if "--network" in options else ("--network", "none")
        return ("run", *network, "--cgroup-parent", PARENT, *options)

    def run(
        self,
        *words: str,
        options: tuple[str | Path, ...] = (),
        image: str = IMAGE,
        kept: str = "",
    ) -> Outcome:
        """Run a container to its end; it stays when it is given a name to be `kept` by."""
        keeping = ("--name", kept) if kept else ("--rm",)
        return self(*self._run(*keeping, *options, image), *words)

    def run_on_terminal(self, *words: str, given: bytes = b"") -> Outcome:
        return self.on_terminal(*self._run("--rm", "-it", IMAGE), *words, given=given)

    def start(self, *words: str, options: tuple[str | Path, ...] = (), word: str = "c") -> str:
        """Run a container detached and give its name."""
        name = f"{self.prefix}-{word}"
        self(
            *self._run("-d", "--name", name, *options, IMAGE), *(words or ("sleep", "1000"))
        ).expect()
        return name

    def state(self, name: str, key: str = "Status") -> str:
        return self("inspect", "-f", f"{{{{.State.{key}}}}}", name).expect().out.strip()

    def default_capabilities(self) -> str:
        """Return what a container gets, as /proc/PID/status has it; podman 5 gives less than 4."""
        names = self("info", "-f", "{{.Host.Security.DefaultCapabilities}}").expect().out
        return f"{sum(1 << CAPABILITIES[name] for name in names.strip().split(',')):016x}"

    def stop(self) -> None:
        """Remove every container and what podman leaves behind."""
        self("pod", "rm", "-fa", "-t", "0")
        self("rm", "-fa", "-t", "0")
        roots = {*cgroup_hierarchies().values()}
        # On v1 podman makes plain folders for the controllers that are not mounted.
        roots |= {path.parent for path in Path("/sys/fs/cgroup").glob(f"*{PARENT}")}
        for root in roots:
            for path in sorted(root.glob(f"{PARENT[1:]}/**/"), reverse=True):
                path.rmdir()
        for root in roots - {*cgroup_hierarchies().values()}:
            root.rmdir()


class RootlessPodman(Podman):
    """podman as an ordinary user; see harness/user.py for how that is one.

    The machine may keep /dev/net/tun and /dev/fuse for root, which distributions do not.
    """

    def __init__(self, folder: Path, runtime: str, user: User, prefix: str = "") -> None:
        super().__init__(folder, runtime, prefix)
        self._user = user
        user.open_devices = tuple(
            name for name in ("net/tun", "fuse") if Path("/dev", name).exists()
        )
        self._env = {**self._env, **user.environment}

    def _words(self, *words: str | Path) -> list[str | Path]:
        return ["podman", "--runtime", self.runtime, "--cgroup-manager", "cgroupfs",
                "--storage-driver", "overlay", "--events-backend", "file", *words]  # fmt: skip

    def __call__(self, *words: str | Path) -> Outcome:
        return call(
            *self._words(*words), env=self._env, folder=self._user.folder, become=self._user.become
        )

    def on_terminal(self, *words: str | Path, given: bytes = b"") -> Outcome:
        settings = (f"{name}={value}" for name, value in self._env.items())
        command = ("env", "-i", *settings, *self._words(*words))
        return call_on_terminal(
            *command, given=given, folder=self._user.folder, become=self._user.become
        )

    def _run(self, *options: str | Path) -> tuple[str | Path, ...]:
        network = () if "--network" in options else ("--network", "none")
        return ("run", *network, *options)

    def stop(self) -> None:
        """Remove every container, and end the process that keeps the user's namespaces."""
        self("pod", "rm", "-fa", "-t", "0")
        self("rm", "-fa", "-t", "0")
        self("system", "migrate").expect()
