"""`ocirun.run`: a container from beginning to end, as `subprocess.run` does it for a program."""

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
    """What is left of a container that has ended: `args`, `returncode`, `stdout`, `stderr`.

    `returncode` is -N if signal N has ended it. `stdout` and `stderr` are None unless captured;
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

    `args` on the root file system `rootfs`, by the default configuration of Spec, whose keyword
    arguments `settings` are (env, user, memory, pids, network, mounts, …); or `config`: a Spec, a
    dict or a bundle directory, of which `args` then replace the program's (not of a bundle).

    The others are as of `subprocess.run`: `input` is written to stdin, `capture_output` stands for
    stdout=PIPE, stderr=PIPE, `check` raises for an exit status that is not 0. After `timeout`
    seconds, in which the container has to be started and to end, it is killed. `container_id`,
    `root` and `cgroup_manager` as of Container.create.

    >>> done = run(["echo", "hello"], rootfs=rootfs, capture_output=True, text=True, timeout=20)
    >>> done.returncode, done.stdout.split()
    (0, ['hello'])

    Raises:
        TypeError, ValueError: an argument is not what it should be.
        TimeoutExpired: it ran longer; it is gone, and the exception has its output.
        CalledProcessError: with `check`, it has failed.
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
            children.forget(container._child)  # nobody will ask the record for its status
        container.start()
        left = None if seconds is None else max(0.0, seconds - (time.monotonic() - begin))
        out, error_output = _communicate(container, input, left, timeout)
        returncode = container.wait()
        # Order: the container is gone before anybody hears of its end.
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
        # What it had written before is in the pipes still; nobody writes there any more.
        if container._streams:
            container._streams.exchange(None, time.monotonic())
        raise expired(container.args, timeout or 0.0, container._streams) from None


def _discard(container: Container) -> None:
    """Delete what could not be brought to its end."""
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
    """Return the configuration that `run` is asked for.

    Raises:
        TypeError: it is asked for twice, or not at all.
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
    if isinstance(process, dict):  # else the check of the configuration says what is wrong
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
        ValueError: one is asked for twice.
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
