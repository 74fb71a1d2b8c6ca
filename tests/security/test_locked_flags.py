"""What the host has set on a mount stays set in a user namespace.

A source that the host has mounted read-only, nosuid, nodev or noexec is not bound without that
into a container that has a user namespace: the kernel locks these flags when it copies a mount
namespace for one, and the copies that the parent makes for init are held to the same rule.

runc refuses ("cannot clear locked flags MS_RDONLY"); 1.1.5 leaves the mount read-only in silence.
Source: mount_namespaces(7), "Restrictions on mount namespaces".
"""

from __future__ import annotations

import errno
import os
from collections.abc import Generator
from pathlib import Path

import pytest
from harness.box import Box
from harness.bundle import Bundle
from harness.late_mounts import add, bind
from harness.machine import MNT_DETACH, libc_call
from harness.mountinfo import mount_at
from harness.needs import needs
from harness.peers import peer_deviates

MAP = (0, 100000, 65536)
MS_REMOUNT_BIND = 32 | 4096
FLAGS = {"ro": 1, "nosuid": 2, "nodev": 4, "noexec": 8, "noatime": 1024, "nosymfollow": 256}
NAMES = {"ro": "MS_RDONLY", "nosuid": "MS_NOSUID", "nodev": "MS_NODEV", "noexec": "MS_NOEXEC"}


@pytest.fixture
def source(box: Box) -> Generator[Path, None, None]:
    """A tmpfs of the host, with one below it."""
    folder = box.folder / "source"
    folder.mkdir()
    libc_call("mount", b"tmpfs", bytes(folder), b"tmpfs", 0, b"mode=777")
    (folder / "below").mkdir()
    libc_call("mount", b"tmpfs", bytes(folder / "below"), b"tmpfs", 0, b"mode=777")
    yield folder
    libc_call("umount2", bytes(folder), MNT_DETACH)


def set_flags(place: Path, *names: str) -> None:
    """Set these flags on a mount of the host."""
    flags = MS_REMOUNT_BIND
    for name in names:
        flags |= FLAGS[name]
    libc_call("mount", None, bytes(place), None, flags, None)


def with_source(box: Box, source: Path, *options: str, userns: bool = True) -> Bundle:
    bundle = box.bundle()
    if userns:
        bundle.use_userns(MAP)
    bundle.add_mount("/data", "bind", str(source), *options)
    return bundle


@pytest.mark.parametrize("words", [["rw"], ["rw", "nosuid"], ["nosuid"], []])
def test_a_read_only_source_is_not_written(box: Box, source: Path, words: list[str]) -> None:
    """Whatever is asked for, and whether it is refused or not; on runc too."""
    set_flags(source, "ro")
    bundle = with_source(box, source, "rbind", *words)
    bundle.process["args"] = ["/probe", "try", "create:/data/new"]
    run = box.container(bundle).run()
    if run.status == 0:
        assert run.json()[0]["errno"] == errno.EROFS
    assert not (source / "new").exists()


@needs("ours")
@pytest.mark.parametrize(
    ("flag", "word"), [("ro", "rw"), ("nosuid", "suid"), ("nodev", "dev"), ("noexec", "exec")]
)
def test_clearing_one_is_refused(box: Box, source: Path, flag: str, word: str) -> None:
    set_flags(source, flag)
    call = box.container(with_source(box, source, "bind", word)).create()
    call.failed(f"cannot clear locked flags {NAMES[flag]}")


@needs("ours")
def test_all_that_would_be_cleared_are_named(box: Box, source: Path) -> None:
    set_flags(source, "ro", "nosuid", "noexec")
    call = box.container(with_source(box, source, "bind", "rw", "exec", "nodev")).create()
    call.failed("cannot clear locked flags MS_RDONLY|MS_NOEXEC")


@needs("ours")
@pytest.mark.parametrize(("given", "asked"), [("noatime", "relatime"), ("noatime", "strictatime")])
def test_access_times_are_not_changed(box: Box, source: Path, given: str, asked: str) -> None:
    set_flags(source, given)
    call = box.container(with_source(box, source, "bind", asked)).create()
    call.failed("cannot change locked atime flags")


@needs("ours")
@pytest.mark.parametrize("word", ["rrw", "rsuid"])
def test_locked_flags_below_the_source_cannot_be_cleared_either(
    box: Box, source: Path, word: str
) -> None:
    """A recursive word reaches what is mounted below the source."""
    set_flags(source / "below", "ro", "nosuid")
    call = box.container(with_source(box, source, "rbind", word)).create()
    call.failed("cannot clear locked flags")


CLEAR_ALL = "for place in /data*; do mount -o remount,bind,rw $place; touch $place/new; done"
ADMIN = {name: ["CAP_SYS_ADMIN"] for name in ("bounding", "effective", "permitted")}


def clearing(bundle: Bundle) -> Bundle:
    """Have the container's root try to write to the source."""
    bundle.process.update(args=["sh", "-c", f"{CLEAR_ALL}; true"], capabilities=ADMIN)
    return bundle


@peer_deviates("runc", "1.1 binds no part of a locked tree", sometimes=True)
@peer_deviates("crun", "1.8 opens it outside", sometimes=True)
@pytest.mark.parametrize("word", ["bind", "rbind"])
def test_the_containers_root_cannot_clear_them(box: Box, source: Path, word: str) -> None:
    """With CAP_SYS_ADMIN in its user namespace, by a remount. A copy has to carry the locks."""
    set_flags(source, "ro", "nosuid")
    result = box.container(clearing(with_source(box, source, word))).run().ok()
    assert "Read-only" in result.stderr
    assert not (source / "new").exists()


@peer_deviates("crun", "1.8 opens it outside", sometimes=True)
def test_nor_those_of_a_file(box: Box, source: Path) -> None:
    (source / "data").write_text("of the host")
    (source / "data").chmod(0o666)
    set_flags(source, "ro")
    bundle = with_source(box, source / "data", "bind")
    script = "mount -o remount,bind,rw /data; echo evil > /data; true"
    bundle.process.update(args=["sh", "-c", script], capabilities=ADMIN)
    box.container(bundle).run().ok()
    assert (source / "data").read_text() == "of the host"


@needs("ours")
def test_nor_those_of_an_idmapped_source(box: Box, source: Path) -> None:
    set_flags(source, "ro")
    bundle = clearing(with_source(box, source, "rbind"))
    for kind in ("uidMappings", "gidMappings"):
        bundle.mounts[-1][kind] = bundle.linux[kind]
    box.container(bundle).run().ok()
    assert not (source / "new").exists()


@needs("ours")
def test_nor_those_of_an_added_mount(box: Box, source: Path) -> None:
    set_flags(source, "ro")
    bundle = box.bundle("/probe", "wait", capabilities=ADMIN)
    bundle.use_userns(MAP)
    container = box.running(bundle)
    add(container, bind(source, "/data1"), bind(source, "/data2", "nodev")).ok()
    container.exec("sh", "-c", CLEAR_ALL)
    assert not (source / "new").exists()


@peer_deviates("crun", "1.8 may refuse or clear", sometimes=True)
def test_a_remount_of_the_config_cannot_clear_them(box: Box, source: Path) -> None:
    set_flags(source, "ro")
    bundle = with_source(box, source, "rbind")
    bundle.add_mount("/data", "bind", "none", "remount", "bind", "rw")
    bundle.process["args"] = ["/probe", "try", "create:/data/new"]
    box.container(bundle).run()
    assert not (source / "new").exists()


@needs("ours")
def test_a_mount_below_the_source_stays(box: Box, source: Path) -> None:
    """The kernel locks these in place: what is under one is not the container's to see."""
    (source / "beside").mkdir()
    bundle = with_source(box, source, "rbind")
    bundle.process.update(args=["umount", "/data/below"], capabilities=ADMIN)
    assert box.container(bundle).run().status != 0


@peer_deviates("runc", "1.1 refuses it when the source has more flags", sometimes=True)
@peer_deviates("crun", "1.8 may refuse or clear", sometimes=True)
def test_what_is_not_mentioned_stays(box: Box, source: Path) -> None:
    set_flags(source, "nosuid", "noexec", "noatime")
    report = box.report(with_source(box, source, "rbind", "nodev"))
    assert {"nosuid", "noexec", "nodev", "noatime"} <= mount_at(report, "/data").options


@peer_deviates("runc", "1.1 keeps a mount's flags in any case", sometimes=True)
@peer_deviates("crun", "1.8 keeps a mount's flags in any case", sometimes=True)
def test_without_a_user_namespace_they_are_the_bundles_to_choose(box: Box, source: Path) -> None:
    set_flags(source, "ro", "nosuid")
    bundle = with_source(box, source, "bind", "rw", userns=False)
    options = mount_at(box.report(bundle), "/data").options
    assert "rw" in options
    assert "nosuid" not in options


@needs("ours")
def test_nosymfollow_follows_the_rules_of_the_others(box: Box, source: Path) -> None:
    """A bind mount with words of its own has just those; `bind,dev` clears it in runc."""
    set_flags(source, "nosymfollow")
    for words, kept in ((["dev"], False), ([], True), (["nosymfollow"], True)):
        report = box.report(with_source(box, source, "bind", *words, userns=False))
        assert ("nosymfollow" in mount_at(report, "/data").options) is kept


@needs("ours")
def test_a_read_only_file_system_is_not_a_locked_flag(box: Box, source: Path) -> None:
    """Only the mount's own flags are locked: `rw` on it changes nothing, as with runc."""
    folder = source / "image"
    folder.mkdir()
    libc_call("mount", b"tmpfs", bytes(folder), b"tmpfs", 1, b"")  # superblock
    libc_call("mount", None, bytes(folder), None, MS_REMOUNT_BIND, None)  # mount
    report = box.report(with_source(box, folder, "bind", "rw"))
    mount = mount_at(report, "/data")
    assert "ro" in mount.data
    assert os.path.ismount(folder)
