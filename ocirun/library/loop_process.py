"""`ocirun.aio.Process`: a process in a container, like asyncio.subprocess.Process.

Source: https://docs.python.org/3.11/library/asyncio-subprocess.html.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress

from ocirun.errors import TimeoutExpired
from ocirun.library.loop import resolve
from ocirun.library.process import check_timeout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final, Self

    from ocirun.library.process import Process as SyncProcess

READ_BYTES: Final = 1 << 16


class Process:
    """A process in a container, like asyncio.subprocess.Process.

    With PIPE `stdin` is a StreamWriter, and `stdout` and `stderr` are StreamReaders of bytes;
    otherwise None. `timeout` is as in the library's Process.
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
        """Its host pid."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """Its exit status, -N if signal N has ended it; None until that is known."""
        return self._process.returncode

    async def _connect(self) -> None:
        """Connect our ends of the pipes to the loop."""
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
        """Wait at most `timeout` seconds for the process to end; return the exit status.

        Raises:
            TimeoutExpired: it still runs. ExitStatusUnknown: it has ended, with an unknown status.
        """
        seconds = check_timeout(self._process._seconds(timeout))
        try:
            async with asyncio.timeout(seconds):
                await self._ended()
        except TimeoutError:
            raise TimeoutExpired(self.args, seconds or 0.0) from None
        return self._process.wait(0)

    async def _ended(self) -> None:
        """Wait for the process to end; the loop watches a duplicate of its pidfd."""
        child = self._process._find_child()
        loop = asyncio.get_running_loop()
        while child.poll() is None and not child.has_ended:
            pidfd = child.borrow()
            if pidfd < 0:
                continue
            ended: asyncio.Future[None] = loop.create_future()
            loop.add_reader(pidfd, resolve, ended)
            try:
                await ended
            finally:
                loop.remove_reader(pidfd)
                os.close(pidfd)

    async def communicate(
        self,
        input: str | bytes | None = None,  # noqa: A002  # subprocess's name
        timeout: float | None = None,
    ) -> tuple[Any, Any]:
        """Write `input` to stdin, read stdout and stderr to end of file, wait for the process.

        Returns:
            The contents of stdout and stderr, each None without a pipe.

        Raises:
            TimeoutExpired: it still runs; no output is lost, and `communicate` may be called again.
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
        """Send a signal, by number or name; does nothing if the process has ended."""
        self._process.send_signal(signal)

    def terminate(self) -> None:
        """Send SIGTERM; does nothing if the process has ended."""
        self._process.terminate()

    def kill(self) -> None:
        """Send SIGKILL; does nothing if the process has ended."""
        self._process.kill()

    async def close(self) -> None:
        """Close the streams. May be called twice."""
        for transport in self._transports:
            if not transport.is_closing():
                getattr(transport, "abort", transport.close)()
        self._transports.clear()
        # The loop closes the descriptors in its next iteration.
        try:
            await asyncio.sleep(0)
        finally:
            self._process.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: object, *_: object) -> None:
        """Close the streams and wait; kill the process first if an exception ends the block."""
        if kind is not None:
            self.kill()
        await self.close()
        await self._ended()
