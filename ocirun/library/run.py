"""`ocirun.run`: create, start, wait for and delete a container, like `subprocess.run`."""

from __future__ import annotations

import time

from ocirun.errors import CalledProcessError, ContainerNotFound, TimeoutExpired
from ocirun.library import children
from ocirun.library.container import Container
from ocirun.library.process import check_args, check_timeout
from ocirun.library.streams import PIPE, expired

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from ocirun.library.making import Configuration
    from ocirun.library.streams import Stream


class CompletedContainer:
    """The result of a container that has ended: `args`, `returncode`, `stdout`, `stderr`.

    `returncode` is -N if it was killed by signal N. `stdout` and `stderr` are None unless captured;
    else bytes, or str in text mode.
    """

    def __init__(
        self,
        args: Any,  # noqa: ANN401
        returncode: int,
        stdout: Any = None,  # noqa: ANN401
        stderr: Any = None,  # noqa: ANN401
    ) -> None:
        self.args = args
        self.returncode = returncode
        self.stdout = stdout
        self.stderr = stderr

    def __repr__(self) -> str:
        parts = [f"args={self.args!r}", f"returncode={self.returncode!r}"]
        outputs = {"stdout": self.stdout, "stderr": self.stderr}
        parts += [f"{name}={value!r}" for name, value in outputs.items() if value is not None]
        return f"CompletedContainer({', '.join(parts)})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, CompletedContainer):
            return NotImplemented
        return vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]  # mutable, never a key

    def check_returncode(self) -> None:
        """Raise CalledProcessError if the exit status is not 0."""
        if self.returncode:
            raise CalledProcessError(self.returncode, self.args, self.stdout, self.stderr)


def run(
    args: Sequence[str] | None = None,
    *,
    rootfs: str | None = None,
    config: Configuration | None = None,
    container_id: str | None = None,
    root: str | None = None,
    input: str | bytes | None = None,  # noqa: A002  # subprocess's name
    stdin: Stream = None,
    stdout: Stream = None,
    stderr: Stream = None,
    capture_output: bool = False,
    timeout: float | None = None,
    check: bool = False,
    text: bool | None = None,
    encoding: str | None = None,
    errors: str | None = None,
    cgroup_manager: str = "cgroupfs",
    **settings: Any,  # noqa: ANN401
) -> CompletedContainer:
    """Run a container, wait for its end, and delete it.

    Runs `args` on the root file system `rootfs`, with the default configuration of Spec and its
    keyword arguments `settings` (env, user, memory, pids, network, mounts, …). Or runs `config`: a
    bundle directory, or a Spec or a dict, whose process.args `args` then replaces.

    The others are those of `subprocess.run`: `input` is written to stdin, `capture_output` means
    stdout=PIPE, stderr=PIPE, `check` raises for a non-zero exit status. After `timeout` seconds,
    the time to start included, the container is killed. `container_id`, `root` and `cgroup_manager`
    are those of Container.create.

    >>> done = run(["echo", "hello"], rootfs=rootfs, capture_output=True, text=True, timeout=20)
    >>> done.returncode, done.stdout.split()
    (0, ['hello'])

    Raises:
        TypeError, ValueError: an argument has a wrong type or value.
        TimeoutExpired: it ran longer; it is deleted, and the exception has its output.
        CalledProcessError: with `check`, the exit status is not 0.
        OcirunError: it could not be created or started. Nothing is left behind in any case.
    """
    begin = time.monotonic()
    seconds = check_timeout(timeout)
    source = source_of(args, rootfs, config, settings)
    stdin, stdout, stderr = streams_of(input, stdin, stdout, stderr, capture_output=capture_output)
    container = Container.create(
        container_id,
        source,
        root=root,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        text=text,
        encoding=encoding,
        errors=errors,
        cgroup_manager=cgroup_manager,
    )
    try:
        if container._child:
            children.forget(container._child)  # its status need not be recorded
        container.start()
        left = None if seconds is None else max(0.0, seconds - (time.monotonic() - begin))
        out, error_output = _communicate(container, input, left, timeout)
        returncode = container.wait()
        # Order: delete the container before the caller learns that it ended.
        container.delete()
    except BaseException:
        _discard(container)
        raise
    container.close()
    completed = CompletedContainer(container.args, returncode, out, error_output)
    if check:
        completed.check_returncode()
    return completed


def _communicate(
    container: Container, data: str | bytes | None, left: float | None, timeout: float | None
) -> tuple[Any, Any]:
    try:
        return container.communicate(data, left)
    except TimeoutExpired:
        container.delete(force=True)
        # The pipes still hold its last output; no process writes to them any more.
        if container._streams:
            container._streams.exchange(None, time.monotonic())
        raise expired(container.args, timeout or 0.0, container._streams) from None


def _discard(container: Container) -> None:
    """Delete a container after a failure."""
    try:
        container.delete(force=True)
    except ContainerNotFound:
        return
    finally:
        container.close()


def source_of(
    args: Sequence[str] | None,
    rootfs: str | None,
    config: Configuration | None,
    settings: Mapping[str, Any],
) -> Configuration:
    """Return the configuration from the arguments of `run`.

    Raises:
        TypeError: neither is given, or two that exclude each other.
    """
    from ocirun.library.making import document_of
    from ocirun.library.spec import Spec

    if config is None:
        if rootfs is None or args is None:
            raise TypeError("run() needs args and rootfs, or config")
        return Spec(args=args, rootfs=rootfs, **settings)
    if rootfs is not None or settings:
        names = ", ".join([*(["rootfs"] if rootfs is not None else []), *settings])
        raise TypeError(f"run() takes config or {names}, not both")
    if args is None:
        return config
    if not isinstance(config, Spec) and not isinstance(config, dict):
        raise TypeError("run() takes args or a bundle directory, not both")
    document = document_of(config)
    process = document.get("process", {})
    if isinstance(process, dict):  # otherwise validation reports it
        document["process"] = {**process, "args": check_args(args)}
    return document


def streams_of(
    data: str | bytes | None,
    stdin: Stream,
    stdout: Stream,
    stderr: Stream,
    *,
    capture_output: bool,
) -> tuple[Stream, Stream, Stream]:
    """Return stdin, stdout and stderr for `run`.

    Raises:
        ValueError: two arguments set the same stream.
    """
    if data is not None:
        if stdin is not None:
            raise ValueError("stdin and input may not both be used")
        stdin = PIPE
    if capture_output:
        if stdout is not None or stderr is not None:
            raise ValueError("stdout and stderr may not be used with capture_output")
        stdout = stderr = PIPE
    return stdin, stdout, stderr
