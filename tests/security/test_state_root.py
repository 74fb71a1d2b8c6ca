"""The state root is ours alone, and nothing in it is followed to another place.

`delete -f ID` where ROOT/ID was a symbolic link has emptied a machine's /etc. Every folder here is
a decoy.

On the peers these tests are not run; by hand, with decoys: runc 1.1.5 removes the link alone, and
works in a state root of uid 1000 that everybody may write to. crun 1.8.1 removes what is in the
link's target, and for a link to a copied record kills the original.

Source: runc's CVE-2019-19921 and CVE-2024-45310 are of this kind: a path looked up again by name.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from harness.box import Box, Container
from harness.needs import needs
from harness.runtime import Result

pytestmark = needs("root", "ours")

VERBS = (
    ("state",),
    ("start",),
    ("kill", "KILL"),
    ("delete",),
    ("delete", "--force"),
    ("exec", "true"),
    ("pause",),
    ("resume",),
    ("ps",),
    ("events", "--stats"),
    ("update", "--pids-limit", "5"),
    ("checkpoint", "--image-path", "/nowhere"),
)


@pytest.fixture
def decoy(box: Box) -> Path:
    """A folder of somebody's, with files and a folder in it."""
    folder = box.folder / "decoy"
    (folder / "below").mkdir(parents=True)
    (folder / "canary").write_text("alive")
    (folder / "below" / "canary").write_text("alive")
    return folder


def is_alive(decoy: Path) -> bool:
    return [(decoy / name).read_text() for name in ("canary", "below/canary")] == ["alive"] * 2


def call(box: Box, name: str, words: tuple[str, ...]) -> Result:
    verb, *rest = words
    flags = [word for word in rest if word.startswith("--")]
    if verb in ("kill", "exec"):
        return box.runtime.call(verb, name, *rest)
    if verb in ("update", "checkpoint"):
        return box.runtime.call(verb, *rest, name)
    return box.runtime.call(verb, *flags, name)


class TestALink:
    """ROOT/ID that is no folder of ours is no container, for every verb."""

    @pytest.mark.parametrize("words", VERBS, ids="-".join)
    def test_to_a_folder_is_refused_and_not_followed(
        self, box: Box, decoy: Path, words: tuple[str, ...]
    ) -> None:
        box.running()
        (box.runtime.root / "web").symlink_to(decoy)
        done = call(box, "web", words)
        assert done.status != 0
        assert f"{box.runtime.root}/web is a symbolic link" in done.said
        assert "internal error" not in done.said
        assert is_alive(decoy)
        assert (box.runtime.root / "web").is_symlink()
        (box.runtime.root / "web").unlink()

    def test_to_another_container_reaches_nothing(self, box: Box) -> None:
        container = box.running()
        (box.runtime.root / "web").symlink_to(container.id)
        for words in VERBS:
            done = call(box, "web", words)
            assert done.status != 0
            assert "is a symbolic link" in done.said
        assert container.status == "running"
        (box.runtime.root / "web").unlink()

    def test_is_not_listed(self, box: Box, decoy: Path) -> None:
        container = box.running()
        (box.runtime.root / "web").symlink_to(decoy)
        (box.runtime.root / "copy").symlink_to(container.id)
        (box.runtime.root / "file").write_text("")
        listed = box.runtime.call("list", "--quiet").ok()
        assert listed.stdout.split() == [container.id]
        assert [entry["id"] for entry in box.runtime.call("list", "--format=json").json()] == [
            container.id
        ]
        for name in ("web", "copy", "file"):
            (box.runtime.root / name).unlink()

    def test_makes_its_id_unusable(self, box: Box, decoy: Path) -> None:
        container = box.container()
        box.runtime.root.mkdir(mode=0o700)
        (box.runtime.root / container.id).symlink_to(decoy)
        container.create().failed("container with given ID already exists")
        assert is_alive(decoy)
        (box.runtime.root / container.id).unlink()

    def test_that_replaces_a_running_containers_folder(self, box: Box, decoy: Path) -> None:
        container = box.running()
        folder = box.runtime.root / container.id
        folder.rename(box.runtime.root / "aside")
        folder.symlink_to(decoy)
        container.delete("--force").failed("is a symbolic link")
        assert is_alive(decoy)
        folder.unlink()
        (box.runtime.root / "aside").rename(folder)
        container.delete("--force").ok()

    @pytest.mark.parametrize("name", ["state.json", "config.json", "notify", "criu-root", "x"])
    def test_inside_the_folder_is_removed_and_not_followed(
        self, box: Box, decoy: Path, name: str
    ) -> None:
        container = box.running()
        place = box.runtime.root / container.id / name
        place.unlink(missing_ok=True)
        place.symlink_to(decoy / "canary" if name.endswith("json") else decoy)
        container.delete("--force").ok()
        assert is_alive(decoy)
        assert not place.parent.exists()

    def test_as_the_gate_is_not_opened(self, box: Box, decoy: Path) -> None:
        container = box.created()
        gate = box.runtime.root / container.id / "start.fifo"
        gate.rename(gate.with_name("aside"))
        gate.symlink_to(decoy / "canary")
        assert container.start().status != 0
        assert is_alive(decoy)
        container.delete("--force").ok()


class TestTheRoot:
    """Who could write to it would decide what we run as root (poststop hooks), and remove."""

    def test_of_somebody_else_is_refused(self, box: Box, decoy: Path) -> None:
        """Its owner's record had a poststop hook run as uid 0."""
        container = made_before(box, decoy)
        os.chown(box.runtime.root, 1000, 1000)
        for words in VERBS:
            done = call(box, container.id, words)
            assert done.status != 0, words
            assert f"{box.runtime.root} belongs to uid 1000" in done.said, done.said
        refused = box.runtime.call("create", "--bundle", container.bundle.path, "another")
        refused.failed("belongs to uid 1000")
        box.runtime.call("list").failed("belongs to uid 1000")
        assert not (decoy / "hook-ran").exists()
        os.chown(box.runtime.root, 0, 0)
        container.delete("--force").ok()

    @pytest.mark.parametrize("mode", [0o720, 0o702, 0o1777])
    def test_that_others_may_write_to_is_refused(self, box: Box, decoy: Path, mode: int) -> None:
        container = made_before(box, decoy)
        box.runtime.root.chmod(mode)
        for words in VERBS:
            done = call(box, container.id, words)
            assert done.status != 0, words
            assert "may be written to by others" in done.said, done.said
        container.create().failed("may be written to by others")
        box.runtime.call("list").failed("may be written to by others")
        box.runtime.root.chmod(0o700)
        container.delete("--force").ok()

    def test_that_is_a_link_is_refused(self, box: Box) -> None:
        """To a folder that is ours, too: what it leads to may be exchanged between two calls."""
        box.running()
        link = box.folder / "link"
        link.symlink_to(box.runtime.root)
        root, box.runtime.root = box.runtime.root, link
        box.runtime.call("list").failed(f"{link} is a symbolic link")
        box.container().create().failed(f"{link} is a symbolic link")
        box.runtime.root = root

    @pytest.mark.parametrize(("uid", "mode"), [(1000, 0o700), (0, 0o777), (0, 0o770)])
    def test_a_containers_folder_has_to_be_ours_too(
        self, box: Box, decoy: Path, uid: int, mode: int
    ) -> None:
        container = made_before(box, decoy)
        folder = box.runtime.root / container.id
        os.chown(folder, uid, uid)
        folder.chmod(mode)
        for words in VERBS:
            done = call(box, container.id, words)
            assert done.status != 0, words
            assert ("belongs to uid" if uid else "may be written to by others") in done.said
        assert box.runtime.call("list", "--quiet").ok().stdout == ""
        assert not (decoy / "hook-ran").exists()
        os.chown(folder, 0, 0)
        folder.chmod(0o700)
        container.delete("--force").ok()

    def test_is_made_for_us_alone_whatever_the_umask(self, box: Box) -> None:
        box.runtime.root = box.folder / "a" / "b" / "state"
        container = box.container()
        container.create(umask=0).ok()
        modes = [
            stat.S_IMODE(path.stat().st_mode)
            for path in (box.runtime.root, box.runtime.root.parent, box.runtime.root.parents[1])
        ]
        assert modes == [0o700, 0o700, 0o700]
        container.delete("--force").ok()


def made_before(box: Box, decoy: Path) -> Container:
    """Create a container whose poststop hook tells that it ran."""
    bundle = box.bundle("/probe", "wait")
    hook = {"path": "/bin/touch", "args": ["touch", str(decoy / "hook-ran")]}
    bundle.config["hooks"] = {"poststop": [hook]}
    return box.created(bundle)
