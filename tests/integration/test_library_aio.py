"""`ocirun.aio`: containers in a loop, a hundred at once, and tasks that are cancelled.

Source: docs/library.md#asyncio.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Generator

import pytest
from harness.box import Box
from harness.leaks import descendants, open_fds
from harness.machine import MARK
from harness.needs import needs

import ocirun
from ocirun import PIPE, aio

pytestmark = needs("root", "ours")

HUNDRED = 100


class Library:
    """What the tests start containers with."""

    def __init__(self, box: Box) -> None:
        self.root = str(box.runtime.root)
        self.rootfs = str(box.bundle().rootfs)
        self.mark = f"{MARK}-{box.folder.name}"

    def spec(self, *args: str) -> ocirun.Spec:
        return ocirun.Spec(args, self.rootfs)

    async def start(self, name: int, *args: str, **how: int) -> aio.Container:
        container_id = f"{self.mark}-{name}"
        return await aio.Container.run(container_id, self.spec(*args), root=self.root, **how)


@pytest.fixture
def lib(box: Box) -> Generator[Library, None, None]:
    """The library; nothing is left when the test ends, not even a zombie."""
    before, children = set(open_fds()), set(descendants())
    yield Library(box)
    assert ocirun.Container.list(root=str(box.runtime.root)) == []
    assert set(open_fds()) == before
    assert set(descendants()) <= children


def test_a_hundred_run_at_once(lib: Library) -> None:
    alive = 0

    async def one(number: int, started: asyncio.Event) -> tuple[int, bytes, int | None]:
        nonlocal alive
        words = ("sh", "-c", f"read a; echo $a; exit {number}")
        async with await lib.start(number, *words, stdin=PIPE, stdout=PIPE) as container:
            alive += 1
            if alive == HUNDRED:
                started.set()
            await started.wait()
            out, _ = await container.communicate(f"{number}\n".encode())
            return number, out, container.returncode

    async def main() -> list[tuple[int, bytes, int | None]]:
        started = asyncio.Event()
        return await asyncio.gather(*(one(number, started) for number in range(HUNDRED)))

    found = asyncio.run(main())
    assert found == [(number, f"{number}\n".encode(), number) for number in range(HUNDRED)]


def test_a_cancelled_task_leaves_nothing(lib: Library) -> None:
    """Wherever it is cancelled: while the container is made, runs, or is deleted."""
    chance = random.Random(7)

    async def one() -> None:
        await aio.run(["sleep", "1000"], rootfs=lib.rootfs, root=lib.root, capture_output=True)

    async def main() -> None:
        tasks = []
        for _ in range(20):
            tasks.append(asyncio.create_task(one()))
            await asyncio.sleep(0.02)
        while tasks:
            task = tasks.pop(chance.randrange(len(tasks)))
            task.cancel()
            await asyncio.sleep(chance.random() * 0.05)
            task.cancel()  # it may be at work on the first one still
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(main())


def test_run_is_as_without_asyncio(lib: Library) -> None:
    async def main() -> None:
        words = ["sh", "-c", "cat; echo no >&2; exit 3"]
        done = await aio.run(
            words, rootfs=lib.rootfs, root=lib.root, input="ja\n", capture_output=True, text=True
        )
        assert (done.returncode, done.stdout, done.stderr) == (3, "ja\n", "no\n")
        with pytest.raises(ocirun.TimeoutExpired, match=r"after 1\.5 seconds") as raised:
            await aio.run(
                ["sh", "-c", "echo here; sleep 1000"],
                config=lib.spec("x"), root=lib.root, timeout=1.5, stdout=PIPE,
            )  # fmt: skip
        assert raised.value.stdout == b"here\n"
        with pytest.raises(ocirun.CalledProcessError):
            await aio.run(["false"], rootfs=lib.rootfs, root=lib.root, check=True)
        with pytest.raises(ocirun.InitError, match="/no/such"):
            await aio.run(["/no/such"], rootfs=lib.rootfs, root=lib.root, stdout=PIPE)
        with pytest.raises(TypeError, match="list of strings"):
            await aio.run("id", rootfs=lib.rootfs, root=lib.root)

    asyncio.run(main())


def test_exec_and_streams_in_the_loop(lib: Library) -> None:
    async def main() -> None:
        async with await lib.start(1, "sleep", "1000") as container:
            assert container.sync.status == "running"
            assert aio.Container.list(root=lib.root) == [container]
            async with await container.exec(["cat"], stdin=PIPE, stdout=PIPE) as process:
                assert process.stdin is not None
                assert process.stdout is not None
                process.stdin.write(b"one\n")
                assert await process.stdout.readline() == b"one\n"
                with pytest.raises(ocirun.TimeoutExpired):
                    await process.wait(0.1)
                process.stdin.close()
                assert await process.wait(60) == 0
            with pytest.raises(RuntimeError):
                async with await container.exec(["sleep", "1000"]) as process:
                    raise RuntimeError
            assert process.returncode == -9
            waiting = [asyncio.create_task(container.wait()) for _ in range(5)]
            await container.pause()
            await container.resume()
            container.kill()
            assert await asyncio.gather(*waiting) == [-9] * 5

    asyncio.run(main())
