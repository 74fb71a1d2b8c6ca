"""A root made of overlays, one for each shown directory.

    PLACE/rootfs/         the root: mount points, links, the container's own directories
    PLACE/upper/NAME/     what was written below a shown directory
    PLACE/work/NAME/      overlayfs's work directory

NAME is the directory's path with "/" as "-".

Source: kernel Documentation/filesystems/overlayfs.rst.
"""

from __future__ import annotations

import os
import stat

from ocirun.errors import SetupError, UsageError, doing, warn
from ocirun.kernel.mountinfo import read_mountinfo
from ocirun.kernel.regular_files import check_regular, read_open
from ocirun.rootfs.resolve import DIRECTORY, components, make_dir_in_root, open_parent
from ocirun.throwaway import machine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ocirun.kernel.mountinfo import MountRow
    from ocirun.spec.types import Mount

# Not taken from an image's root: mounted or created anew.
FRESH: Final = ("dev", "proc", "run", "sys", "tmp")
SEPARATORS: Final = ":,\\"  # of overlay's options; the kernel and mount(8) escape them differently
MAX_TOP_FILE_BYTES: Final = 1 << 20
ON_DISKS: Final = (
    "bcachefs",
    "btrfs",
    "erofs",
    "ext4",
    "f2fs",
    "overlay",
    "squashfs",
    "xfs",
    "zfs",
)


class Layer:
    """One shown directory: `lower` is its path on the host, `destination` in the container.

    `is_read_only`: it cannot have an overlay, and is bind-mounted read-only.
    """

    __slots__ = ("destination", "is_read_only", "lower")

    def __init__(self, lower: str, destination: str, *, is_read_only: bool = False) -> None:
        self.lower = lower
        self.destination = destination
        self.is_read_only = is_read_only

    @property
    def name(self) -> str:
        """The layer's directory below upper/ and work/."""
        return self.destination.strip("/").replace("-", "--").replace("/", "-")

    def upper(self, place: str) -> str:
        """Return the directory for its writes."""
        return f"{place}/upper/{self.name}"

    def mount(self, place: str, *, userxattr: bool) -> Mount:
        """Return its entry of `mounts`. `userxattr`: it is mounted in a user namespace."""
        if self.is_read_only:
            return {
                "destination": self.destination,
                "type": "none",
                "source": self.lower,
                "options": ["rbind", "rro", "rnosuid", "rnodev"],
            }
        options = [
            "nosuid",
            "nodev",
            f"lowerdir={self.lower}",
            f"upperdir={self.upper(place)}",
            f"workdir={place}/work/{self.name}",
            *(["userxattr"] if userxattr else []),
        ]
        return {
            "destination": self.destination,
            "type": "overlay",
            "source": "overlay",
            "options": options,
        }


class Tree:
    """The root to create: overlays, and the entries of the root directory itself.

    `links` are (path, target), `directories` (path, mode), `files` (path, mode, content).
    """

    __slots__ = ("directories", "files", "layers", "links")

    def __init__(self) -> None:
        self.layers: list[Layer] = []
        self.links: list[tuple[str, str]] = []
        self.directories: list[tuple[str, int]] = [(f"/{name}", 0o755) for name in FRESH]
        self.files: list[tuple[str, int, bytes]] = []

    def make(self, place: str) -> None:
        """Create rootfs/, upper/ and work/ in `place`; entries of an earlier call stay.

        Security: rootfs/ may have been written by an earlier container, so every path is resolved
        inside it.
        """
        old_umask = os.umask(0)
        try:
            for name in ("rootfs", "upper", "work"):
                _make_directory(f"{place}/{name}", 0o755)
            with doing(f"making the root {place}/rootfs"):
                root_fd = os.open(f"{place}/rootfs", DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
                try:
                    self._fill(root_fd)
                finally:
                    os.close(root_fd)
            for layer in self.layers:
                if not layer.is_read_only:
                    # Kernel: the merged directory takes owner and mode of the upper one.
                    mode = stat.S_IMODE(os.stat(layer.lower).st_mode)
                    _make_directory(layer.upper(place), mode)
                    _make_directory(f"{place}/work/{layer.name}", 0o755)
        finally:
            os.umask(old_umask)

    def _fill(self, root_fd: int) -> None:
        """Create the missing entries of the root directory (`root_fd`, borrowed)."""
        for path, mode in self.directories:
            os.close(make_dir_in_root(root_fd, path, mode))
        for path, target in self.links:
            _make_link(root_fd, path, target)
        for path, mode, content in self.files:
            _make_file(root_fd, path, mode, content)
        for layer in self.layers:
            os.close(make_dir_in_root(root_fd, layer.destination))


def tree_of_machine(*, userns: bool) -> Tree:
    """Return the tree over this machine's file system. `userns`: for use in a user namespace."""
    tree = Tree()
    rows = read_mountinfo()
    tree.directories += machine.OWN
    tree.links += machine.OWN_LINKS
    for path in machine.SHOWN:
        if os.path.islink(path):
            tree.links.append((path, os.readlink(path)))
        elif os.path.isdir(path):
            tree.layers += _layers_of(path, path, rows, userns=userns)
    return tree


def tree_of_directory(root: str, *, userns: bool) -> Tree:
    """Return the tree over the root directory `root`, an absolute path.

    Raises:
        UsageError: overlay's options cannot hold its path.
        SetupError: it cannot be read.
    """
    check_path(root)
    tree = Tree()
    rows = read_mountinfo()
    with doing(f"reading the root directory {root}"):
        with os.scandir(root) as found:
            entries = sorted(found, key=lambda entry: entry.name)
        for entry in entries:
            if entry.name in FRESH:
                continue
            path, destination = f"{root}/{entry.name}", f"/{entry.name}"
            mode = entry.stat(follow_symlinks=False).st_mode
            if stat.S_ISLNK(mode):
                tree.links.append((destination, os.readlink(path)))
            elif stat.S_ISDIR(mode):
                check_path(path)
                tree.layers += _layers_of(path, destination, rows, userns=userns)
            elif stat.S_ISREG(mode):
                tree.files.append((destination, stat.S_IMODE(mode), _content(path)))
            else:
                warn(f"{path} is left out: it is no file, directory or link")
    return tree


def check_path(path: str) -> None:
    """Raise if overlay's options cannot hold a path.

    Raises:
        UsageError: it has a colon, a comma or a backslash.
    """
    if any(letter in path for letter in SEPARATORS):
        raise UsageError(
            f"{path!r} cannot be a layer of an overlay: "
            "rename it so that it has no colon, comma or backslash"
        )


def _layers_of(path: str, destination: str, rows: list[MountRow], *, userns: bool) -> list[Layer]:
    """Return the layers of a directory and of the disks mounted below it.

    Kernel: in a user namespace overlayfs refuses a lower directory with mounts below it
    (clone_private_mount), so such a directory is shown read-only.
    """
    below = [row for row in rows if row.point.startswith(f"{path}/")]
    if userns and below:
        return [Layer(path, destination, is_read_only=True)]
    disks = {
        row.point
        for row in below
        if (row.fs_name in ON_DISKS or row.source.startswith("/dev/")) and os.path.isdir(row.point)
    }
    points = [point for point in sorted(disks) if not any(c in point for c in SEPARATORS)]
    return [
        Layer(path, destination),
        *(Layer(point, destination + point[len(path) :]) for point in points),
    ]


def _content(path: str) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        check_regular(fd, path)
        return read_open(fd, MAX_TOP_FILE_BYTES, path)
    finally:
        os.close(fd)


def _make_directory(path: str, mode: int) -> None:
    with doing(f"making the directory {path}"):
        try:
            os.mkdir(path, mode)
        except FileExistsError:
            if not stat.S_ISDIR(os.lstat(path).st_mode):
                raise SetupError(f"{path} is no directory") from None


def _make_link(root_fd: int, path: str, target: str) -> None:
    """Create a symbolic link in the root unless the path exists."""
    parts = components(path)
    parent_fd = open_parent(root_fd, parts)
    try:
        os.symlink(target, parts[-1], dir_fd=parent_fd)
    except FileExistsError:
        return
    finally:
        os.close(parent_fd)


def _make_file(root_fd: int, path: str, mode: int, content: bytes) -> None:
    """Create a file in the root unless the path exists."""
    parts = components(path)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    parent_fd = open_parent(root_fd, parts)
    try:
        fd = os.open(parts[-1], flags, mode, dir_fd=parent_fd)
    except FileExistsError:
        return
    finally:
        os.close(parent_fd)
    with os.fdopen(fd, "wb") as file:
        file.write(content)
