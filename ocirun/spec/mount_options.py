"""The words of `mounts[].options`: one table says what each does, one function reads a list.

A word that is not in the table is an option of the file system itself and is handed on.
Values are the kernel's (MOUNT_ATTR_*, MS_*); they are repeated here as numbers because spec/ knows
no system calls. Source: runtime-spec config.md#linux-mount-options; linux/mount.h.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Final

# What a word acts on; the two numbers beside it are explained per act.
NOTHING: Final = 0  # accepted, no effect
ATTRIBUTE: Final = 1  # MOUNT_ATTR_* to set, to clear: of this mount
RECURSIVE: Final = 2  # MOUNT_ATTR_* to set, to clear: of this mount and all below it
SUPERBLOCK: Final = 3  # MS_* of the file system, shared by all its mounts: to set, to clear
BIND: Final = 4  # 1 with everything mounted below the source, else 0
PROPAGATION: Final = 5  # MS_* type, 1 for all mounts below as well
EXTRA: Final = 6  # one of the bits below

REMOUNT: Final = 1
TMPCOPYUP: Final = 2  # a tmpfs begins with what it covers
COPY_SYMLINK: Final = 4  # a source that is a symbolic link is made anew instead of mounted
SRC_NOFOLLOW: Final = 8  # a source that is a symbolic link is itself mounted
DEST_NOFOLLOW: Final = 16  # a destination that is a symbolic link is itself mounted over
IDMAP: Final = 32
RIDMAP: Final = 64

_RDONLY, _NOSUID, _NODEV, _NOEXEC = 0x1, 0x2, 0x4, 0x8
_NOATIME, _STRICTATIME, _ATIME, _NODIRATIME, _NOSYMFOLLOW = 0x10, 0x20, 0x70, 0x80, 0x200000
_RELATIME = 0x40  # of _ATIME the bit that no choice has: relatime was named
_SYNCHRONOUS, _MANDLOCK, _DIRSYNC, _LAZYTIME = 0x10, 0x40, 0x80, 1 << 25
_UNBINDABLE, _PRIVATE, _SLAVE, _SHARED = 1 << 17, 1 << 18, 1 << 19, 1 << 20

# Kernel: relatime, noatime and strictatime are one choice. mount(2) takes all words of it that are
# not taken back, and looks at strictatime first, at noatime then (whole_atime); "norelatime" has no
# effect there either, relatime being the default.
# Kernel: MS_SILENT and MS_I_VERSION mean nothing to fsconfig; they are accepted as mount(2) does.
MOUNT_OPTIONS: dict[str, tuple[int, int, int]] = {
    "async": (SUPERBLOCK, 0, _SYNCHRONOUS),
    "atime": (ATTRIBUTE, 0, _NOATIME),
    "bind": (BIND, 0, 0),
    "copy-symlink": (EXTRA, COPY_SYMLINK, 0),
    "defaults": (NOTHING, 0, 0),
    "dest-nofollow": (EXTRA, DEST_NOFOLLOW, 0),
    "dev": (ATTRIBUTE, 0, _NODEV),
    "diratime": (ATTRIBUTE, 0, _NODIRATIME),
    "dirsync": (SUPERBLOCK, _DIRSYNC, 0),
    "exec": (ATTRIBUTE, 0, _NOEXEC),
    "idmap": (EXTRA, IDMAP, 0),
    "iversion": (NOTHING, 0, 0),
    "lazytime": (SUPERBLOCK, _LAZYTIME, 0),
    "loud": (NOTHING, 0, 0),
    "mand": (SUPERBLOCK, _MANDLOCK, 0),
    "noatime": (ATTRIBUTE, _NOATIME, 0),
    "nodev": (ATTRIBUTE, _NODEV, 0),
    "nodiratime": (ATTRIBUTE, _NODIRATIME, 0),
    "noexec": (ATTRIBUTE, _NOEXEC, 0),
    "noiversion": (NOTHING, 0, 0),
    "nolazytime": (SUPERBLOCK, 0, _LAZYTIME),
    "nomand": (SUPERBLOCK, 0, _MANDLOCK),
    "norelatime": (NOTHING, 0, 0),
    "nostrictatime": (ATTRIBUTE, 0, _STRICTATIME),
    "nosuid": (ATTRIBUTE, _NOSUID, 0),
    "nosymfollow": (ATTRIBUTE, _NOSYMFOLLOW, 0),
    "private": (PROPAGATION, _PRIVATE, 0),
    "ratime": (RECURSIVE, 0, _NOATIME),
    "rasync": (NOTHING, 0, 0),
    "rbind": (BIND, 1, 0),
    "rdev": (RECURSIVE, 0, _NODEV),
    "rdiratime": (RECURSIVE, 0, _NODIRATIME),
    "rdirsync": (NOTHING, 0, 0),
    "relatime": (ATTRIBUTE, 0, _RELATIME),
    "remount": (EXTRA, REMOUNT, 0),
    "rexec": (RECURSIVE, 0, _NOEXEC),
    "ridmap": (EXTRA, RIDMAP, 0),
    "rmand": (NOTHING, 0, 0),
    "rnoatime": (RECURSIVE, _NOATIME, 0),
    "rnodev": (RECURSIVE, _NODEV, 0),
    "rnodiratime": (RECURSIVE, _NODIRATIME, 0),
    "rnoexec": (RECURSIVE, _NOEXEC, 0),
    "rnomand": (NOTHING, 0, 0),
    "rnorelatime": (NOTHING, 0, 0),
    "rnostrictatime": (RECURSIVE, 0, _STRICTATIME),
    "rnosuid": (RECURSIVE, _NOSUID, 0),
    "rnosymfollow": (RECURSIVE, _NOSYMFOLLOW, 0),
    "ro": (ATTRIBUTE, _RDONLY, 0),
    "rprivate": (PROPAGATION, _PRIVATE, 1),
    "rrelatime": (RECURSIVE, 0, _RELATIME),
    "rro": (RECURSIVE, _RDONLY, 0),
    "rrw": (RECURSIVE, 0, _RDONLY),
    "rshared": (PROPAGATION, _SHARED, 1),
    "rslave": (PROPAGATION, _SLAVE, 1),
    "rstrictatime": (RECURSIVE, _STRICTATIME, 0),
    "rsuid": (RECURSIVE, 0, _NOSUID),
    "rsymfollow": (RECURSIVE, 0, _NOSYMFOLLOW),
    "rsync": (NOTHING, 0, 0),
    "runbindable": (PROPAGATION, _UNBINDABLE, 1),
    "rw": (ATTRIBUTE, 0, _RDONLY),
    "shared": (PROPAGATION, _SHARED, 0),
    "silent": (NOTHING, 0, 0),
    "slave": (PROPAGATION, _SLAVE, 0),
    "src-nofollow": (EXTRA, SRC_NOFOLLOW, 0),
    "strictatime": (ATTRIBUTE, _STRICTATIME, 0),
    "suid": (ATTRIBUTE, 0, _NOSUID),
    "symfollow": (ATTRIBUTE, 0, _NOSYMFOLLOW),
    "sync": (SUPERBLOCK, _SYNCHRONOUS, 0),
    "tmpcopyup": (EXTRA, TMPCOPYUP, 0),
    "unbindable": (PROPAGATION, _UNBINDABLE, 0),
}

PROPAGATION_OPTIONS: dict[str, tuple[int, bool]] = {
    word: (first, bool(second))
    for word, (act, first, second) in MOUNT_OPTIONS.items()
    if act == PROPAGATION
}


class MountOptions:
    """What a list of mount options asks for; of contradicting words the last one wins.

    But of the access times strictatime comes before noatime, and that before relatime.
    `attr_set`, `attr_clr`: MOUNT_ATTR_* asked for and asked away. `rec_set`, `rec_clr`: the same
    for the whole tree. The clear masks hold the access-time choice whole or not at all, as
    mount_setattr(2) wants it. `superblock`: MS_* of the file system. `bind`: it is a bind mount;
    `recursive`: with all below. `propagation`: (MS_* type, recursive) in the order given.
    `extra`: bits such as TMPCOPYUP. `id_maps`: what `idmap=` or `ridmap=` says ("" without them).
    `data`: the file system's own options, in order.
    """

    __slots__ = (
        "attr_clr",
        "attr_set",
        "bind",
        "data",
        "extra",
        "id_maps",
        "propagation",
        "rec_clr",
        "rec_set",
        "recursive",
        "superblock",
    )

    def __init__(self) -> None:
        self.attr_set = 0
        self.attr_clr = 0
        self.rec_set = 0
        self.rec_clr = 0
        self.superblock = 0
        self.bind = False
        self.recursive = False
        self.propagation: list[tuple[int, int]] = []
        self.extra = 0
        self.id_maps = ""
        self.data: list[str] = []

    @property
    def changes_attributes(self) -> bool:
        """Whether any option is about attributes of the mount or of those below it."""
        return bool(self.attr_set | self.attr_clr | self.rec_set | self.rec_clr)

    def take(self, act: int, first: int, second: int) -> None:
        """Note one known word by its row of MOUNT_OPTIONS."""
        if act == ATTRIBUTE:
            self.attr_set = self.attr_set & ~second | first
            self.attr_clr = self.attr_clr & ~first | second
        elif act == RECURSIVE:
            self.rec_set = self.rec_set & ~second | first
            self.rec_clr = self.rec_clr & ~first | second
        elif act == SUPERBLOCK:
            self.superblock = self.superblock & ~second | first
        elif act == BIND:
            self.bind = True
            self.recursive = self.recursive or first == 1
        elif act == PROPAGATION:
            self.propagation.append((first, second))
        elif act == EXTRA:
            self.extra |= first


def read_options(given: Iterable[str] | None) -> MountOptions:
    """Read the options of one mount entry; None is an empty list."""
    options = MountOptions()
    for option in given or ():
        row = MOUNT_OPTIONS.get(option)
        if row is not None:
            options.take(*row)
        elif option.startswith(("idmap=", "ridmap=")):
            options.extra |= RIDMAP if option.startswith("r") else IDMAP
            options.id_maps = option.partition("=")[2]
        elif "," in option and "context=" not in option:
            # Several options in one string work with mount(2), which splits the joined text again.
            options.data += split_data(option)
        elif option:
            options.data.append(option)
    options.attr_set, options.attr_clr = whole_atime(options.attr_set, options.attr_clr)
    options.rec_set, options.rec_clr = whole_atime(options.rec_set, options.rec_clr)
    return options


def whole_atime(attr_set: int, attr_clr: int) -> tuple[int, int]:
    """Return both with one choice of access times at most, and with it whole or not at all.

    Kernel: mount_setattr(2) refuses part of MOUNT_ATTR__ATIME in attr_clr, and a choice in
    attr_set without the whole of it in attr_clr.
    """
    if attr_set & _STRICTATIME:
        attr_set &= ~_NOATIME
    if attr_set & _ATIME or attr_clr & (_NOATIME | _RELATIME):
        return attr_set, attr_clr | _ATIME
    return attr_set, attr_clr & ~_ATIME


def split_data(option: str) -> list[str]:
    r"""Split `option` at its commas, but not at "\,", which overlay reads as part of a path."""
    parts = [""]
    for piece in option.split(","):
        if parts[-1].endswith("\\"):
            parts[-1] += "," + piece
        else:
            parts.append(piece)
    return [part for part in parts if part]
