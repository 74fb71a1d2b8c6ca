"""Look at every file of a tree that a hostile program may be changing.

Source: openat(2), scandir in docs.python.org library/os.html.
"""

from __future__ import annotations

import os
import stat
import time

from ocirun.kernel.mount import mount_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final

    # path from the top, status, and where it can be opened until the next entry is asked for
    Entry = tuple[str, os.stat_result, str]

SECONDS: Final = 5.0  # time limit for one tree; an image has about ten thousand files
DEEPEST: Final = 100  # directories open at once; deeper ones are not searched
DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Tree:
    """What is below the directory `root_fd` (borrowed); after `files`, `whole`: all of it was seen.

    Security: processes in the container may exchange directories meanwhile, and may nest thousands.
    Each directory is opened relative to its parent, nothing else is opened, no link is followed.
    os.fwalk opens first and compares then, and recurses.
    """

    __slots__ = ("_end", "_mount", "_root_fd", "whole")

    def __init__(self, root_fd: int, *, one_mount: bool) -> None:
        self._root_fd = root_fd
        self._mount = mount_id(root_fd) if one_mount else None
        self._end = time.monotonic() + SECONDS
        self.whole = True

    def files(self) -> Iterator[Entry]:
        """Yield everything but directories; paths begin with "/"."""
        # From the root downwards: descriptor, path, names of directories that are left to search.
        opened: list[tuple[int, str, list[str]]] = []
        try:
            opened.append((os.open(".", DIRECTORY, dir_fd=self._root_fd), "", []))
            yield from self._entries(*opened[-1])
            while opened:
                folder_fd, path, left = opened[-1]
                if not left:
                    os.close(opened.pop()[0])
                elif self._is_too_deep(len(opened)):
                    left.clear()
                else:
                    name = left.pop()
                    try:
                        fd = os.open(name, DIRECTORY, dir_fd=folder_fd)
                    except OSError:  # something else by now, or not readable
                        continue
                    opened.append((fd, f"{path}/{name}", []))
                    if self._mount in (None, mount_id(fd)):
                        yield from self._entries(*opened[-1])
        finally:
            for fd, _, _ in opened:
                os.close(fd)

    def _is_too_deep(self, depth: int) -> bool:
        if depth < DEEPEST and time.monotonic() < self._end:
            return False
        self.whole = False
        return True

    def _entries(self, folder_fd: int, path: str, folders: list[str]) -> Iterator[Entry]:
        """Yield what is in one directory, and add the names of its directories to `folders`."""
        with os.scandir(folder_fd) as entries:
            for entry in entries:
                if time.monotonic() > self._end:
                    self.whole = False
                    return
                try:
                    status = entry.stat(follow_symlinks=False)
                except OSError:  # removed by now
                    continue
                if stat.S_ISDIR(status.st_mode):
                    folders.append(entry.name)
                else:
                    yield f"{path}/{entry.name}", status, f"/proc/self/fd/{folder_fd}/{entry.name}"
