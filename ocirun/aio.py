"""The library for asyncio: the same objects with awaitable calls. See docs/library.md#asyncio.

The loop watches the pidfd for the end of a process; streams are a StreamWriter and StreamReaders.
Calls that create, change or delete a container run in the loop's default executor. A thread cannot
be interrupted: a cancelled task waits for it and undoes what it created before the cancellation
takes effect. So a cancelled task leaves nothing behind.

Source: https://docs.python.org/3.11/library/asyncio-subprocess.html.
"""

from __future__ import annotations

import asyncio

from ocirun.container.events import events
from ocirun.container.store import Store
from ocirun.errors import TimeoutExpired
from ocirun.library import children
from ocirun.library.container import Container as SyncContainer
from ocirun.library.loop import discard, end, follow, in_thread
from ocirun.library.loop_process import Process
from ocirun.library.process import check_timeout, interval_ns
from ocirun.library.run import CompletedContainer, source_of, streams_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from builtins import list as List  # noqa: N812  # `list` is a method here
    from collections.abc import AsyncIterator, Mapping, Sequence
    from typing import Any, Self

    from ocirun.errors import OcirunError
    from ocirun.library.making import Configuration
    from ocirun.library.streams import Stream

__all__ = ("CompletedContainer", "Container", "Process", "run")


class Container(Process):
    """A container; leaving an `async with` block deletes it, even if it runs.

    `sync` is the library's Container, for calls that do not block: `state`, `status`, `processes`,
    `stats`.
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
        """The state root."""
        return self._sync.root

    @classmethod
    async def create(
        cls,
        container_id: str | None,
        bundle: Configuration,
        **options: Any,  # noqa: ANN401
    ) -> Self:
        """Create a container, not yet started; the arguments are those of the library.

        Raises:
            OcirunError, TypeError, ValueError: as there.
        """
        made = await in_thread(
            lambda: SyncContainer.create(container_id, bundle, **options), discard
        )
        return await cls._of(made)

    @classmethod
    async def run(
        cls,
        container_id: str | None,
        bundle: Configuration,
        **options: Any,  # noqa: ANN401
    ) -> Self:
        """Create a container and start it; does not wait for it to end.

        Raises:
            OcirunError, TypeError, ValueError: as in the library.
        """
        made = await in_thread(lambda: SyncContainer.run(container_id, bundle, **options), discard)
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

    @classmethod
    async def restore(
        cls,
        container_id: str | None,
        bundle: str,
        image_path: str,
        **options: Any,  # noqa: ANN401
    ) -> Self:
        """Restore a container from a checkpoint; the arguments are those of the library."""
        made = await in_thread(
            lambda: SyncContainer.restore(container_id, bundle, image_path, **options), discard
        )
        return await cls._of(made)

    async def checkpoint(self, image_path: str, **flags: Any) -> None:  # noqa: ANN401
        """Checkpoint the container into `image_path`, as the library does."""
        await in_thread(lambda: self.sync.checkpoint(image_path, **flags))

    async def add_mounts(self, *mounts: Any) -> None:  # noqa: ANN401  # as of the library
        """Add mounts to the running container, as the library does."""
        await in_thread(lambda: self.sync.add_mounts(*mounts))

    async def remove_mounts(self, *destinations: str) -> None:
        """Unmount these paths in the running container, as the library does."""
        await in_thread(lambda: self.sync.remove_mounts(*destinations))

    async def update(self, resources: Any, **schemas: str) -> None:  # noqa: ANN401
        """Change the limits of the container, as the library does."""
        await in_thread(lambda: self.sync.update(resources, **schemas))

    def events(self, interval: float = 5.0) -> AsyncIterator[dict[str, Any]]:
        """Follow the container until it stops, as the library does, in an `async for`.

        It blocks in its own thread, which ends with the iterator.
        """
        nanoseconds = interval_ns(interval)
        return follow(
            lambda listener: events(Store(self.root), self.id, nanoseconds, listener=listener)
        )

    async def start(self) -> None:
        """Start the program of the created container."""
        await in_thread(self.sync.start)

    async def exec(
        self,
        process: Mapping[str, Any] | Sequence[str],
        **options: Any,  # noqa: ANN401
    ) -> Process:
        """Run another process in the container; the arguments are those of the library.

        Raises:
            OcirunError, TypeError, ValueError: as there.
        """
        started = Process(await in_thread(lambda: self.sync.exec(process, **options), end))
        try:
            await started._connect()
        except BaseException:
            started.kill()
            await started.close()
            raise
        return started

    async def pause(self) -> None:
        """Freeze all processes of the container."""
        await in_thread(self.sync.pause)

    async def resume(self) -> None:
        """Resume the processes of the paused container."""
        await in_thread(self.sync.resume)

    async def delete(self, *, force: bool = False) -> List[OcirunError]:
        """Delete the container, as the library does; cancellation does not interrupt it."""
        return await in_thread(lambda: self.sync.delete(force=force))

    async def _remove(self) -> None:
        try:
            await self.close()
        finally:  # also after a second cancellation
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
    """Run a container, wait for it to end, and delete it, as `ocirun.run` does.

    A cancelled task deletes the container before it ends.

    >>> async def main() -> None:
    ...     done = await run(["echo", "hello"], rootfs=rootfs, capture_output=True)
    ...     print(done.returncode, done.stdout.split())
    >>> asyncio.run(main())
    0 [b'hello']

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
            children.forget(container.sync._child)  # its status need not be recorded
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
