"""Verbs of the library beside running: mounts, checkpoints, checks, events in a loop, terminals.

Source: docs/library.md.
"""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import pytest
from harness.box import Box
from harness.leaks import descendants, open_fds
from harness.machine import MARK
from harness.needs import needs

import ocirun
from ocirun import PIPE, aio

pytestmark = needs("root", "ours")


def start(box: Box, *args: str, name: str = "v", **how: object) -> ocirun.Container:
    spec = ocirun.Spec(args, box.bundle().rootfs, mounts=["/tmp"])
    container_id = f"{MARK}-{box.folder.name}-{name}"
    made: ocirun.Container = ocirun.Container.run(
        container_id, spec, root=str(box.runtime.root), **how
    )
    return made


def test_mounts_come_and_go(box: Box) -> None:
    source = box.folder / "shown"
    source.mkdir()
    (source / "file").write_text("shown")
    with start(box, "sleep", "1000") as container:
        container.add_mounts((str(source), "/tmp/here", "ro"), "/tmp/scratch")
        words = ["sh", "-c", "cat /tmp/here/file; echo > /tmp/scratch/a && ls /tmp/scratch"]
        assert container.exec(words, stdout=PIPE).communicate(timeout=20)[0] == b"showna\n"
        container.remove_mounts("/tmp/here", "/tmp/scratch")
        listing = container.exec(["ls", "/tmp/here"], stdout=PIPE, stderr=PIPE)
        assert b"file" not in listing.communicate(timeout=20)[0]


def test_refused_mounts_are_refused_in_a_sentence(box: Box) -> None:
    with start(box, "sleep", "1000") as container:
        with pytest.raises(ocirun.SpecError, match="mounts"):
            container.add_mounts({"destination": 7})
        with pytest.raises(ocirun.SetupError, match=r"nothing is mounted|not mounted|no mount"):
            container.remove_mounts("/bin")
        with pytest.raises(TypeError, match="a mount must be"):
            container.add_mounts(7)  # type: ignore[arg-type]  # on purpose
    with pytest.raises(ocirun.ContainerNotFound):
        container.add_mounts("/tmp/x")


def test_a_checkpoint_of_what_does_not_run_is_refused(box: Box) -> None:
    with start(box, "true") as container:
        container.wait(20)
        with pytest.raises(ocirun.WrongStatus, match="cannot be checkpointed in stopped state"):
            container.checkpoint(box.folder / "images")
    with pytest.raises(ocirun.ContainerNotFound):
        container.checkpoint(box.folder / "images")
    before = set(open_fds())
    with pytest.raises(ocirun.SetupError):
        ocirun.Container.restore(None, box.bundle().path, box.folder, root=str(box.runtime.root))
    assert set(open_fds()) == before


@needs("criu")
def test_a_container_goes_on_after_a_checkpoint(box: Box) -> None:
    # CRIU ends a sleep that it interrupted with EINTR, and busybox's then ends.
    bundle = box.bundle("sh", "-c", "while :; do sleep 1; done")
    bundle.save()
    root, name = str(box.runtime.root), f"{MARK}-{box.folder.name}-c"
    null = {"stdin": ocirun.DEVNULL, "stdout": ocirun.DEVNULL, "stderr": ocirun.DEVNULL}
    ocirun.Container.run(name, bundle.path, root=root, **null).checkpoint(box.folder / "images")
    with pytest.raises(ocirun.ContainerNotFound):
        _ = ocirun.Container(name, root=root).status
    images = box.folder / "images"
    with ocirun.Container.restore(name, bundle.path, images, root=root, **null) as container:
        assert container.status == "running"
        container.kill()


def test_validate_finds_problems_and_misspellings(box: Box) -> None:
    good = ocirun.Spec(["id"], box.bundle().rootfs)
    assert ocirun.Container.validate(good).problems == []
    bad = {**good.build(), "hostname": 7}
    assert [one.pointer for one in ocirun.Container.validate(bad).problems] == ["/hostname"]
    odd = good.build()
    odd["hostnme"] = odd.pop("hostname")
    assert "hostname" in str(ocirun.Container.validate(odd).warnings[0])
    bundle = box.bundle()
    bundle.config["process"]["args"] = []
    bundle.save()
    assert ocirun.Container.validate(bundle.path).problems
    assert ocirun.Container.validate(box.folder / "none").problems


def test_events_in_a_loop(box: Box) -> None:
    before, threads, children = set(open_fds()), threading.active_count(), set(descendants())

    async def main() -> list[str]:
        kinds: list[str] = []
        spec = ocirun.Spec(["sleep", "1000"], box.bundle().rootfs, mounts=["/tmp"])
        name = f"{MARK}-{box.folder.name}-e"
        async with await aio.Container.run(name, spec, root=str(box.runtime.root)) as container:
            async for event in container.events(0.05):
                kinds.append(event["type"])
                if len(kinds) == 2:
                    break
            # More than the executor has threads; each is cancelled while it waits.
            tasks = [asyncio.create_task(anext(container.events(100))) for _ in range(40)]  # type: ignore[arg-type]
            await asyncio.sleep(0.2)
            await container.add_mounts("/tmp/x")
            for task in tasks:
                task.cancel()
            done = await asyncio.gather(*tasks, return_exceptions=True)
            assert {type(one) for one in done} == {asyncio.CancelledError}
            ending = asyncio.create_task(_count(container.events(100)))
            await asyncio.sleep(0.1)
            container.kill()
            assert await asyncio.wait_for(ending, 20) == 0
        with pytest.raises(ocirun.ContainerNotFound):
            await anext(container.events())
        return kinds

    assert asyncio.run(main()) == ["stats", "stats"]
    assert set(open_fds()) == before
    assert threading.active_count() == threads
    assert set(descendants()) <= children


async def _count(events: object) -> int:
    return len([one async for one in events])  # type: ignore[attr-defined]


WRITES = "echo x > /new && rm /probe && echo y > /probe && cat /new && ls -ld / && ls /dev/null"


@pytest.mark.parametrize("mapped", [False, True], ids=["plain", "userns"])
def test_an_overlay_keeps_the_image_clean(box: Box, mapped: bool) -> None:
    rootfs = box.bundle().rootfs
    rootfs.chmod(0o755)
    before = sorted((str(path), path.lstat().st_ino) for path in rootfs.rglob("*"))
    spec = ocirun.Spec(["sh", "-c", WRITES], rootfs, overlay="8M")
    config = spec.build()
    if mapped:
        config["linux"]["namespaces"].append({"type": "user"})
        for kind in ("uidMappings", "gidMappings"):
            config["linux"][kind] = [{"containerID": 0, "hostID": 100000, "size": 65536}]
        os.chown(rootfs, 100000, 100000)
    root = str(box.runtime.root)
    for _ in range(2):
        done = ocirun.run(config=config, root=root, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, ""), done
        assert done.stdout.splitlines()[0] == "x"
        assert done.stdout.splitlines()[1].startswith("drwxr-xr-x")
    assert before == sorted((str(path), path.lstat().st_ino) for path in rootfs.rglob("*"))
    full = ["sh", "-c", "cat /dev/zero > /full; echo >&2"]
    done = ocirun.run(full, config=config, root=root, capture_output=True, text=True)
    assert "No space left on device" in done.stderr


def test_an_overlay_that_cannot_be_meant_is_refused(box: Box) -> None:
    config = ocirun.Spec(["true"], box.bundle().rootfs, overlay=True).build()
    config["annotations"]["org.ocirun.overlay"] = "much"
    with pytest.raises(ocirun.SpecError, match="'much' is no size"):
        ocirun.run(config=config, root=str(box.runtime.root))
    with pytest.raises(ValueError, match="overlay must be"):
        ocirun.Spec(overlay="much")


@pytest.mark.parametrize(
    ("how", "kind", "words"),
    [
        ({"mounts": "/tmp"}, TypeError, "mounts must be"),
        ({"mounts": 5}, TypeError, "mounts must be"),
        ({"mounts": [("/tmp", 5)]}, TypeError, "destination and options"),
        ({"mounts": [("/tmp", "/a", 5)]}, TypeError, "destination and options"),
        ({"capabilities": [5]}, TypeError, "capabilities must be"),
        ({"capabilities": ["FLY"]}, ValueError, "capabilities has CAP_FLY"),
        ({"readonly": "no"}, TypeError, "readonly must be"),
        ({"annotations": ["a"]}, TypeError, "annotations must be"),
        ({"input": 5}, TypeError, "input must be"),
        ({"cgroup_manager": "x"}, ValueError, "cgroup_manager must be"),
        ({"root": 5}, TypeError, "root must be"),
    ],
)
def test_a_wrong_argument_is_named(
    box: Box, how: dict[str, object], kind: type[Exception], words: str
) -> None:
    settings = {"root": str(box.runtime.root), **how}
    with pytest.raises(kind, match=words):
        ocirun.run(["true"], rootfs=str(box.bundle().rootfs), **settings)  # type: ignore[arg-type]


def test_wrong_arguments_of_methods_are_named(box: Box) -> None:
    with start(box, "sleep", "1000") as container:
        with pytest.raises(TypeError, match="timeout must be"):
            container.wait("5")  # type: ignore[arg-type]  # on purpose
        with pytest.raises(TypeError, match="interval must be"):
            container.events("a")  # type: ignore[arg-type]  # on purpose
        with pytest.raises(ValueError, match="preserve_fds must not be negative"):
            container.exec(["true"], preserve_fds=-1)
    with pytest.raises(ocirun.SpecError, match="process"):
        ocirun.run(["id"], config={"process": 5}, root=str(box.runtime.root))


def test_a_terminal_of_a_bundle_directory(box: Box) -> None:
    bundle = box.bundle("sh", "-c", "test -t 0 && echo yes")
    bundle.save()
    name = f"{MARK}-{box.folder.name}-t"
    root = str(box.runtime.root)
    with ocirun.Container.run(name, bundle.path, root=root, terminal=True) as container:
        assert container.terminal
        assert os.read(container.terminal.fileno(), 100) == b"yes\r\n"
        assert container.wait(20) == 0
    assert not Path(box.runtime.root, name).exists()
