"""What both drivers share: a container.json becomes a bundle, which an engine runs.

Source: docs/engines.md#execdriver.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from ocirun.container.kill import kill
from ocirun.container.pause import processes
from ocirun.container.state import state_of
from ocirun.container.status import CREATED, CREATING, STOPPED
from ocirun.container.store import Store, check_id, default_root
from ocirun.convert.libcontainer import read_container_json
from ocirun.errors import ContainerNotFound, SetupError, UsageError, doing
from ocirun.kernel.process import without_clone3
from ocirun.process.command import find_command
from ocirun.spec import NETWORKS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import IO, Any, Final

    from ocirun.convert.document import Document

    Stream = int | IO[bytes] | None

POLL_S: Final = 0.01
SIGKILL: Final = 9


class Pipes:
    """What a container's program is connected with: descriptors or files, None for /dev/null.

    They are borrowed. With `tty` in its container.json the program has a terminal, which is copied
    to and from them.
    """

    def __init__(self, stdin: Stream = None, stdout: Stream = None, stderr: Stream = None) -> None:
        self.stdin = stdin
        self.stdout = stdout
        self.stderr = stderr


class Command:
    """One container to run: its id, root directory and program, which container.json lacks.

    `container` is that document: an object, or the path of the file. `pid` is the program's on the
    host while it runs, else 0.
    """

    def __init__(
        self, id: str, rootfs: str, args: Sequence[str], container: Document | str | Path  # noqa: A002
    ) -> None:  # fmt: skip
        check_id(id)
        self.id = id
        self.rootfs = os.path.abspath(rootfs)
        self.args = list(args)
        self.container = container
        self.pid = 0

    def document(self) -> Document:
        """Return container.json as an object.

        Raises:
            SetupError: the file cannot be read. UsageError: it is no JSON object.
        """
        document: Any = self.container
        if not isinstance(document, dict):
            with doing(f"reading {document}"):
                text = Path(document).read_bytes()
            try:
                document = json.loads(text)
            except ValueError as error:
                raise UsageError(f"{self.container} is not JSON: {error}") from error
            if not isinstance(document, dict):
                raise UsageError(f"{self.container} is no container.json")
        return document


class Info:
    """What a driver knows of one container."""

    def __init__(self, state: dict[str, Any] | None) -> None:
        self.state = state

    def is_running(self) -> bool:
        """Return whether its program runs, or is paused."""
        return self.state is not None and self.state["status"] not in (CREATING, CREATED, STOPPED)


class Driver:
    """Runs containers by one engine. `root` is the state root."""

    engine = ""

    def __init__(self, root: str | None = None) -> None:
        self.store = Store(root or default_root())

    def name(self) -> str:
        """Return the engine's name and version, `native-0.3.0`."""
        raise NotImplementedError

    def config_of(self, command: Command) -> Document:
        """Return the config.json for a command.

        Raises:
            UsageError: its container.json has members without a counterpart; all of them.
        """
        document = command.document()
        try:
            config, left = read_container_json(document, command.rootfs)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            message = f"no container.json: {type(error).__name__}: {error}"
            raise UsageError(message) from error
        if "networks" in left:  # the annotation takes that list as it is
            left.remove("networks")
            config["annotations"] = {NETWORKS: json.dumps(document["networks"])}
        if left:
            raise UsageError(f"container.json has no counterpart for {', '.join(left)}")
        config["process"]["args"] = command.args
        return config

    def run(
        self,
        command: Command,
        pipes: Pipes,
        start_callback: Callable[[Command], object] | None = None,
    ) -> int:
        """Run the container, and wait for its end; nothing of it is left then.

        `start_callback` is called with the command, which has its pid, once the program runs.
        Returns the exit status, or 128 plus the signal that killed the program.

        Raises:
            UsageError: as config_of. SetupError: it could not be created or started.
        """
        config = self.config_of(command)
        folder = tempfile.mkdtemp(prefix="ocirun-execdriver-")
        try:
            Path(folder, "config.json").write_text(json.dumps(config), encoding="utf-8")
            return self._run(command, pipes, folder, start_callback)
        finally:
            command.pid = 0
            shutil.rmtree(folder)

    def _run(
        self,
        command: Command,
        pipes: Pipes,
        folder: str,
        start_callback: Callable[[Command], object] | None,
    ) -> int:
        log, pid_file = f"{folder}/log", f"{folder}/pid"
        argv = [find_command(), "--root", self.store.root, "--engine", self.engine, "--log", log]
        argv += ["run", "--bundle", folder, "--pid-file", pid_file, command.id]
        streams = [subprocess.DEVNULL if one is None else one for one in vars(pipes).values()]
        with doing(f"running {argv[0]}"):
            process = without_clone3(
                lambda: subprocess.Popen(  # noqa: S603
                    argv, stdin=streams[0], stdout=streams[1], stderr=streams[2]
                )
            )
        try:
            has_started = self._wait_for_start(command, process, pid_file)
            if has_started and start_callback:
                start_callback(command)
            status = process.wait()
        except BaseException:
            process.kill()  # what it has made is deleted below
            process.wait()
            self._delete(command)
            raise
        if not has_started:
            raise SetupError(_error_in(log) or f"ocirun run has ended with status {status}")
        return status

    def _wait_for_start(
        self, command: Command, process: subprocess.Popen[bytes], pid_file: str
    ) -> bool:
        """Wait until the program runs; return False if nothing will run any more."""
        while process.poll() is None:
            if os.path.exists(pid_file) and self.has_started(command.id):
                command.pid = int(Path(pid_file).read_text(encoding="ascii"))
                return True
            time.sleep(POLL_S)
        if os.path.exists(pid_file) and not _error_in(f"{os.path.dirname(pid_file)}/log"):
            command.pid = int(Path(pid_file).read_text(encoding="ascii"))  # it has ended already
            return True
        return False

    def has_started(self, container_id: str) -> bool:
        """Return whether the container's program has been executed."""
        state = self.info(container_id).state
        return state is not None and state["status"] not in (CREATING, CREATED)

    def _delete(self, command: Command) -> None:
        from ocirun.container.delete import delete

        delete(self.store, command.id, force=True)

    def kill(self, command: Command, signal: int) -> None:
        """Send a signal to the container's program.

        Raises:
            ContainerNotFound, WrongStatus: it does not run.
        """
        kill(self.store, command.id, signal, everyone=False)

    def terminate(self, command: Command) -> None:
        """Kill the container."""
        self.kill(command, SIGKILL)

    def info(self, container_id: str) -> Info:
        """Return what is known of a container; of one that there is not, that it does not run."""
        try:
            return Info(state_of(self.store, container_id))
        except ContainerNotFound:
            return Info(None)

    def get_pids_for_container(self, container_id: str) -> list[int]:
        """Return the host pids of the processes in the container's cgroup.

        Raises:
            ContainerNotFound: there is no such container.
        """
        return processes(self.store, container_id)


def _error_in(log: str) -> str:
    """Return the message of the last error in ocirun's log, "" without one."""
    try:
        lines = Path(log).read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except FileNotFoundError:
        return ""
    for line in reversed(lines):
        _, found, message = line.partition("level=error msg=")
        if found:
            return str(json.loads(message))
    return ""
