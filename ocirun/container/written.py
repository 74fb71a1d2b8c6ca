"""What this program has written into the record of a container of its own.

A program that uses the library needs the record again in each call about the container. While the
file is the one that was written, nothing of it has to be read and checked.

Source: stat(2); docs/performance.md#what-the-library-costs.
"""

from __future__ import annotations

import os

from ocirun.container.record import SHAPE, STATE_FILE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ocirun.container.folder import Folder
    from ocirun.container.record import Record


class Written:
    """The fields of `record`, as they are in its file now; keeps no descriptor."""

    __slots__ = ("_fields", "_file")

    def __init__(self, record: Record) -> None:
        self._fields = {name: getattr(record, name) for name in SHAPE}
        self._file = _identity(record.directory)

    def fields(self, directory: Folder, folder_inode: int) -> dict[str, Any] | None:
        """Return the fields for a record to keep, or None if it has to be read.

        `directory` has the inode number `folder_inode`. A record is written by renaming a new file
        to its place, so another one is another file.
        """
        names = self._fields["folder_inode"], self._fields["id"]
        if names != (folder_inode, directory.id) or self._file != _identity(directory):
            return None
        return {
            name: value.copy() if isinstance(value, dict | list) else value
            for name, value in self._fields.items()
        }


def _identity(directory: Folder) -> tuple[object, ...]:
    try:
        found = os.stat(STATE_FILE, dir_fd=directory.fd, follow_symlinks=False)
    except OSError as error:  # deleted meanwhile
        return (error,)  # equal to no other
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
