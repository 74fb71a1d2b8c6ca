"""runtime-spec config.md#mounts, options: what a list of words asks for."""

from __future__ import annotations

import pytest

from ocirun.kernel import mount as kernel
from ocirun.spec.mount_options import (
    ATTRIBUTE,
    COPY_SYMLINK,
    DEST_NOFOLLOW,
    MOUNT_OPTIONS,
    PROPAGATION_OPTIONS,
    RECURSIVE,
    SRC_NOFOLLOW,
    SUPERBLOCK,
    TMPCOPYUP,
    read_options,
    split_data,
)


def test_no_options_ask_for_nothing() -> None:
    for options in (None, [], ["defaults"], ["loud", "silent", "iversion", ""]):
        words = read_options(options)
        assert (words.attr_set, words.attr_clr, words.rec_set, words.rec_clr) == (0, 0, 0, 0)
        assert (words.superblock, words.extra, words.bind) == (0, 0, False)
        assert words.data == []
        assert words.propagation == []


@pytest.mark.parametrize(
    ("pair", "bit"),
    [
        (("ro", "rw"), kernel.MOUNT_ATTR_RDONLY),
        (("nosuid", "suid"), kernel.MOUNT_ATTR_NOSUID),
        (("nodev", "dev"), kernel.MOUNT_ATTR_NODEV),
        (("noexec", "exec"), kernel.MOUNT_ATTR_NOEXEC),
        (("nodiratime", "diratime"), kernel.MOUNT_ATTR_NODIRATIME),
        (("nosymfollow", "symfollow"), kernel.MOUNT_ATTR_NOSYMFOLLOW),
    ],
)
def test_of_contradicting_words_the_last_one_wins(pair: tuple[str, str], bit: int) -> None:
    setting, clearing = pair
    assert (read_options(pair).attr_set, read_options(pair).attr_clr) == (0, bit)
    words = read_options([clearing, setting])
    assert (words.attr_set, words.attr_clr) == (bit, 0)
    recursive = read_options([f"r{clearing}", f"r{setting}"])
    assert (recursive.rec_set, recursive.rec_clr, recursive.attr_set) == (bit, 0, 0)


@pytest.mark.parametrize(
    ("options", "chosen", "cleared"),
    [
        (["noatime"], kernel.MOUNT_ATTR_NOATIME, True),
        (["strictatime"], kernel.MOUNT_ATTR_STRICTATIME, True),
        (["relatime"], 0, True),
        (["atime"], 0, True),
        (["noatime", "atime"], 0, True),
        (["noatime", "strictatime"], kernel.MOUNT_ATTR_STRICTATIME, True),
        (["strictatime", "noatime"], kernel.MOUNT_ATTR_STRICTATIME, True),
        (["noatime", "relatime"], kernel.MOUNT_ATTR_NOATIME, True),
        (["relatime", "noatime", "atime"], 0, True),
        (["noatime", "strictatime", "nostrictatime"], kernel.MOUNT_ATTR_NOATIME, True),
        (["strictatime", "nostrictatime"], 0, False),
        (["strictatime", "atime"], kernel.MOUNT_ATTR_STRICTATIME, True),
        (["norelatime"], 0, False),
        (["nostrictatime"], 0, False),
    ],
)
def test_the_access_time_is_cleared_whole_or_not_at_all(
    options: list[str], chosen: int, cleared: bool
) -> None:
    words = read_options(options)
    assert words.attr_set & kernel.MOUNT_ATTR__ATIME == chosen
    assert words.attr_clr & kernel.MOUNT_ATTR__ATIME == (kernel.MOUNT_ATTR__ATIME if cleared else 0)
    recursive = read_options([f"r{option}" for option in options])
    assert (recursive.rec_set, recursive.rec_clr) == (words.attr_set, words.attr_clr)


def test_superblock_words_are_kept_apart() -> None:
    words = read_options(["sync", "dirsync", "mand", "lazytime", "nomand", "async"])
    assert words.superblock == kernel.MS_DIRSYNC | kernel.MS_LAZYTIME
    assert words.attr_set == 0


def test_bind_and_rbind() -> None:
    assert (read_options(["bind"]).bind, read_options(["bind"]).recursive) == (True, False)
    assert read_options(["rbind", "bind"]).recursive


def test_propagation_keeps_its_order() -> None:
    words = read_options(["rslave", "shared"])
    assert words.propagation == [(kernel.MS_SLAVE, 1), (kernel.MS_SHARED, 0)]
    assert PROPAGATION_OPTIONS["runbindable"] == (kernel.MS_UNBINDABLE, True)
    assert PROPAGATION_OPTIONS["private"] == (kernel.MS_PRIVATE, False)
    assert len(PROPAGATION_OPTIONS) == 8


def test_options_of_the_runtime_are_recognised() -> None:
    words = read_options(["tmpcopyup", "copy-symlink", "src-nofollow", "dest-nofollow"])
    assert words.extra == TMPCOPYUP | COPY_SYMLINK | SRC_NOFOLLOW | DEST_NOFOLLOW


def test_unknown_words_are_the_file_systems_own() -> None:
    assert read_options(["mode=755", "ro", "newinstance"]).data == ["mode=755", "newinstance"]
    assert read_options(["mode=755,size=64k"]).data == ["mode=755", "size=64k"]
    label = 'context="system_u:object_r:x:s0:c1,c2"'
    assert read_options([label]).data == [label]


def test_an_escaped_comma_belongs_to_the_value() -> None:
    assert split_data(r"lowerdir=/a\,b,upperdir=/c") == [r"lowerdir=/a\,b", "upperdir=/c"]


def test_the_numbers_are_the_kernels() -> None:
    """spec/ may not import kernel/ values it repeats; here they are held equal."""
    known = {
        "ro": kernel.MOUNT_ATTR_RDONLY,
        "nosuid": kernel.MOUNT_ATTR_NOSUID,
        "nodev": kernel.MOUNT_ATTR_NODEV,
        "noexec": kernel.MOUNT_ATTR_NOEXEC,
        "noatime": kernel.MOUNT_ATTR_NOATIME,
        "strictatime": kernel.MOUNT_ATTR_STRICTATIME,
        "nodiratime": kernel.MOUNT_ATTR_NODIRATIME,
        "nosymfollow": kernel.MOUNT_ATTR_NOSYMFOLLOW,
    }
    for word, bit in known.items():
        assert MOUNT_OPTIONS[word][:2] == (ATTRIBUTE, bit)
        assert MOUNT_OPTIONS[f"r{word}"][:2] == (RECURSIVE, bit)
    superblock = {
        "sync": kernel.MS_SYNCHRONOUS,
        "dirsync": kernel.MS_DIRSYNC,
        "mand": kernel.MS_MANDLOCK,
        "lazytime": kernel.MS_LAZYTIME,
    }
    for word, bit in superblock.items():
        assert MOUNT_OPTIONS[word][:2] == (SUPERBLOCK, bit)
