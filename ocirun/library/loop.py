"""Calls of the library in threads of an asyncio loop, which leave nothing behind if cancelled.

Source: https://docs.python.org/3.11/library/asyncio-eventloop.html.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from typing import Any, TypeVar

    from ocirun.library.container import Container
    from ocirun.library.process import Process

    Result = TypeVar("Result")


async def in_thread(
    act: Callable[[], Result], undo: Callable[[Result], object] | None = None
) -> Result:
    """Run `act` in a thread. If we are cancelled, wait for it and `undo` its result."""
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
    """Wait for `future`, even if we are cancelled repeatedly."""
    while not future.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait([future])


async def follow(events: Callable[[int], Iterator[Result]]) -> AsyncIterator[Result]:
    """Iterate over `events(descriptor)` in its own thread.

    The iterator ends when the other end of that descriptor closes: when we are cancelled or closed.
    """
    from concurrent.futures import ThreadPoolExecutor

    reading, writing = os.pipe()
    thread = ThreadPoolExecutor(1, "ocirun-events")
    found: list[Any] = []

    def step() -> Result | None:
        if not found:
            found.append(events(writing))
        event: Result | None = next(found[0], None)
        return event

    try:
        while True:
            future = asyncio.get_running_loop().run_in_executor(thread, step)
            try:
                event = await asyncio.shield(future)
            except asyncio.CancelledError:
                os.close(reading)
                reading = -1
                await _finish(future)
                future.exception()  # seen: nobody is there to hear of it
                raise
            if event is None:
                return
            yield event
    finally:
        thread.shutdown()
        for one in found:
            one.close()
        for fd in (reading, writing):
            if fd >= 0:
                os.close(fd)


def discard(container: Container) -> None:
    """Delete a container whose creator was cancelled."""
    container.close()
    container.delete(force=True)


def end(process: Process) -> None:
    """Kill and reap a process whose creator was cancelled."""
    process.kill()
    process.close()
    process._find_child().wait(None)


def resolve(future: asyncio.Future[None]) -> None:
    """Set the result of `future` unless it was cancelled in this iteration of the loop."""
    if not future.done():
        future.set_result(None)
