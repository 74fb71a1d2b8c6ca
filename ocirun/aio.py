"""The library for asyncio: the same objects, whose calls are awaited. See docs/library.md#asyncio.

The end of a process is heard by the loop, through its pidfd; streams are a StreamWriter and
StreamReaders. What makes, changes or deletes a container runs in the loop's default executor. A
thread cannot be interrupted: a task that is cancelled meanwhile waits for it, undoes what it has
made, and only then is cancelled. So a cancelled task leaves nothing behind.

Source: https://docs.python.org/3.11/library/asyncio-subprocess.html.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress

from ocirun.errors import TimeoutExpired
from ocirun.library import children
from ocirun.library.container import Container as SyncContainer
from ocirun.library.process import Process as SyncProcess
from ocirun.library.process import check_timeout
from ocirun.library.run import CompletedContainer, source_of, streams_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from builtins import list as List  # noqa: N812  # `list` is a method here
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any, Final, Self, TypeVar

    from ocirun.errors import OcirunError
    from ocirun.library.making import Configuration
    from ocirun.library.streams import Stream

    Result = TypeVar("Result")

READ_BYTES: Final = 1 << 16

__all__ = ("CompletedContainer", "Container", "Process", "run")


class Process:
    """A process in a container, in the shape of asyncio.subprocess.Process.

    `stdin` is a StreamWriter, `stdout` and `stderr` are StreamReaders, of bytes, where PIPE was
    asked for; else None. `timeout` as of the library's Process.
    """

    def __init__(self, process: SyncProcess) -> None:
        self._process = process
        self.stdin: asyncio.StreamWriter | None = None
        self.stdout: asyncio.StreamReader | None = None
        self.stderr: asyncio.StreamReader | None = None
        self._transports: list[Any] = []
        self._received: dict[str, list[bytes]] = {"stdout": [], "stderr": []}
        self._has_sent = False

    def __repr__(self) -> str:
        return f"aio.{self._process!r}"

    @property
    def args(self) -> Any:  # noqa: ANN401  # as of the library's Process
        """Its program and arguments."""
        return self._process.args

    @property
    def pid(self) -> int:
        """Its pid, as the host sees it."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """Its exit status, -N if signal N has ended it; None until that is known."""
        return self._process.returncode

    async def _connect(self) -> None:
        """Let the loop have our ends of the pipes."""
        streams = self._process._streams
        if streams is None:
            return
        loop = asyncio.get_running_loop()
        stdin, stdout, stderr = streams.files
        if stdin is not None:
            transport, protocol = await loop.connect_write_pipe(
                asyncio.streams.FlowControlMixin, stdin
            )
            self._transports.append(transport)
            self.stdin = asyncio.StreamWriter(transport, protocol, None, loop)
        self.stdout = await self._read(stdout)
        self.stderr = await self._read(stderr)

    async def _read(self, file: Any) -> asyncio.StreamReader | None:  # noqa: ANN401
        if file is None:
            return None
        reader = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        transport, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), file
        )
        self._transports.append(transport)
        return reader

    async def wait(self, timeout: float | None = None) -> int:  # subprocess's
        """Wait until the process ends, `timeout` seconds at most; return the exit status.

        Raises:
            TimeoutExpired: it runs on. ExitStatusUnknown: nobody could learn how it has ended.
        """
        seconds = check_timeout(self._process._seconds(timeout))
        try:
            async with asyncio.timeout(seconds):
                await self._ended()
        except TimeoutError:
            raise TimeoutExpired(self.args, seconds or 0.0) from None
        return self._process.wait(0)

    async def _ended(self) -> None:
        """Wait for the end; the loop watches a pidfd of ours."""
        child = self._process._find_child()
        loop = asyncio.get_running_loop()
        while child.poll() is None and not child.has_ended:
            pidfd = child.borrow()
            if pidfd < 0:
                continue
            end: asyncio.Future[None] = loop.create_future()
            loop.add_reader(pidfd, _resolve, end)
            try:
                await end
            finally:
                loop.remove_reader(pidfd)
                os.close(pidfd)

    async def communicate(
        self,
        input: str | bytes | None = None,  # noqa: A002  # subprocess's name
        timeout: float | None = None,
    ) -> tuple[Any, Any]:
        """Write `input` to stdin, read stdout and stderr until their end, wait for the process.

        Returns:
            What stdout and stderr said, each None without a pipe.

        Raises:
            TimeoutExpired: it runs on; nothing is lost, and `communicate` may be called again.
        """
        seconds = check_timeout(self._process._seconds(timeout))
        if input is not None and self.stdin is None:
            raise ValueError("input needs stdin=PIPE")
        data = self._process._streams._encoded(input) if self._process._streams else b""
        try:
            async with asyncio.timeout(seconds), asyncio.TaskGroup() as tasks:
                tasks.create_task(self._send(data))
                tasks.create_task(self._receive("stdout"))
                tasks.create_task(self._receive("stderr"))
                tasks.create_task(self._ended())
        except TimeoutError:
            out, errors = self._outputs()
            raise TimeoutExpired(self.args, seconds or 0.0, out or None, errors or None) from None
        self._process.wait(0)
        return self._outputs()

    async def _send(self, data: bytes) -> None:
        if self.stdin is None:
            return
        with suppress(BrokenPipeError, ConnectionResetError):  # it does not read
            if not self._has_sent:
                self._has_sent = True
                self.stdin.write(data)
            await self.stdin.drain()
        self.stdin.close()

    async def _receive(self, name: str) -> None:
        reader: asyncio.StreamReader | None = getattr(self, name)
        while reader is not None and (piece := await reader.read(READ_BYTES)):
            self._received[name].append(piece)

    def _outputs(self) -> tuple[Any, Any]:
        found: list[Any] = []
        streams = self._process._streams
        for name in ("stdout", "stderr"):
            data = b"".join(self._received[name])
            if getattr(self, name) is None:
                found.append(None)
            elif streams and streams.encoding is not None:
                found.append(streams._decoded(data))
            else:
                found.append(data)
        return found[0], found[1]

    def send_signal(self, signal: int | str) -> None:
        """Send a signal, by number or name; nothing if it has ended."""
        self._process.send_signal(signal)

    def terminate(self) -> None:
        """Send SIGTERM; nothing if it has ended."""
        self._process.terminate()

    def kill(self) -> None:
        """Send SIGKILL; nothing if it has ended."""
        self._process.kill()

    async def close(self) -> None:
        """Close the streams. May be called twice."""
        for transport in self._transports:
            if not transport.is_closing():
                getattr(transport, "abort", transport.close)()
        self._transports.clear()
        # The loop closes the descriptors in its next round.
        await asyncio.sleep(0)
        self._process.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: object, *_: object) -> None:
        """Close the streams and wait; kill the process before if an exception ends the block."""
        if kind is not None:
            self.kill()
        await self.close()
        await self._ended()


class Container(Process):
    """A container; at the end of an `async with` block it is deleted, whatever it is doing.

    What is not here is in `sync`, the library's Container: `state`, `status`, `processes`, `stats`
    answer at once.
    """

    def __init__(self, container_id: str, *, root: str | None = None) -> None:
        self._sync = SyncContainer(container_id, root=root)
        super().__init__(self._sync)

    def __eq__(self, other: object) -> bool:
        return self.sync == other.sync if isinstance(other, Container) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.sync)

    @property
    def sync(self) -> SyncContainer:
        """The same container without asyncio."""
        return self._sync

    @property
    def id(self) -> str:
        """Its id."""
        return self._sync.id

    @property
    def root(self) -> str:
        """The directory of the records."""
        return self._sync.root

    @classmethod
    async def create(
        cls,
        container_id: str | None,
        bundle: Configuration,
        **options: Any,  # noqa: ANN401
    ) -> Self:
        """Create a container, ready to be started; the arguments are those of the library.

        Raises:
            OcirunError, TypeError, ValueError: as there.
        """
        made = await _do(lambda: SyncContainer.create(container_id, bundle, **options), _discard)
        return await cls._of(made)

    @classmethod
    async def run(
        cls,
        container_id: str | None,
        bundle: Configuration,
        **options: Any,  # noqa: ANN401
    ) -> Self:
        """Create a container and start it, without waiting for its end.

        Raises:
            OcirunError, TypeError, ValueError: as of the library.
        """
        made = await _do(lambda: SyncContainer.run(container_id, bundle, **options), _discard)
        return await cls._of(made)

    @classmethod
    async def _of(cls, made: SyncContainer) -> Self:
        container = cls(made.id, root=made.root)
        container._process = container._sync = made
        try:
            await container._connect()
        except BaseException:
            await container._remove()
            raise
        return container

    @classmethod
    def list(cls, *, root: str | None = None) -> List[Self]:
        """Return the containers of a root, sorted by id."""
        return [cls(found.id, root=found.root) for found in SyncContainer.list(root=root)]

    async def start(self) -> None:
        """Start the program of the created container."""
        await _do(self.sync.start)

    async def exec(
        self,
        process: Mapping[str, Any] | Sequence[str],
        **options: Any,  # noqa: ANN401
    ) -> Process:
        """Run one more process in the container; the arguments are those of the library.

        Raises:
            OcirunError, TypeError, ValueError: as there.
        """
        started = Process(await _do(lambda: self.sync.exec(process, **options), _end))
        try:
            await started._connect()
        except BaseException:
            started.kill()
            await started.close()
            raise
        return started

    async def pause(self) -> None:
        """Stop all processes of the container where they are."""
        await _do(self.sync.pause)

    async def resume(self) -> None:
        """Let the processes of the paused container go on."""
        await _do(self.sync.resume)

    async def delete(self, *, force: bool = False) -> List[OcirunError]:
        """Delete the container, as the library does; a cancelled task has deleted it, too."""
        return await _do(lambda: self.sync.delete(force=force))

    async def _remove(self) -> None:
        await self.close()
        await self.delete(force=True)

    async def __aexit__(self, *_: object) -> None:
        """Delete the container."""
        await self._remove()


async def run(
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
    timeout: float | None = None,  # subprocess's name
    check: bool = False,
    text: bool | None = None,
    encoding: str | None = None,
    errors: str | None = None,
    cgroup_manager: str = "cgroupfs",
    **settings: Any,  # noqa: ANN401
) -> CompletedContainer:
    """Run a container, wait for its end, and delete it, as `ocirun.run` does.

    A task that is cancelled meanwhile deletes it before it ends.

    Raises:
        TimeoutExpired, CalledProcessError, OcirunError, TypeError, ValueError: as there.
    """
    seconds = check_timeout(timeout)
    source = source_of(args, rootfs, config, settings)
    stdin, stdout, stderr = streams_of(input, stdin, stdout, stderr, capture_output=capture_output)
    loop = asyncio.get_running_loop()
    begin = loop.time()
    container = await Container.create(
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
    async with container:
        if container.sync._child:
            children.forget(container.sync._child)  # nobody will ask the record for its status
        await container.start()
        left = None if seconds is None else max(0.0, seconds - (loop.time() - begin))
        try:
            out, error_output = await container.communicate(input, left)
        except TimeoutExpired as error:
            words = TimeoutExpired(container.args, timeout or 0.0, error.output, error.stderr)
            raise words from None
        returncode = await container.wait()
    completed = CompletedContainer(container.args, returncode, out, error_output)
    if check:
        completed.check_returncode()
    return completed


async def _do(act: Callable[[], Result], undo: Callable[[Result], object] | None = None) -> Result:
    """Do `act` in a thread. Where we are cancelled meanwhile, wait for it and `undo` its result."""
    loop = asyncio.get_running_loop()
    future = loop.run_in_executor(None, act)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        await _finish(future)
        if undo is not None and future.exception() is None:
            result = future.result()
            undoing = loop.run_in_executor(None, lambda: undo(result))
            await _finish(undoing)
            undoing.result()
        else:
            future.exception()  # seen: nobody is there to hear of it
        raise


async def _finish(future: asyncio.Future[Any]) -> None:
    """Wait for `future`, however often we are cancelled."""
    while not future.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait([future])


def _discard(container: SyncContainer) -> None:
    container.close()
    container.delete(force=True)


def _end(process: SyncProcess) -> None:
    process.kill()
    process.close()
    process._find_child().wait(None)


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
