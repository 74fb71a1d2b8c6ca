"""Records of containers that are nothing but a folder."""

from __future__ import annotations

from pathlib import Path

from ocirun.container.folder import Folder
from ocirun.container.record import Record
from ocirun.container.store import Store


def new_folder(root: Path, container_id: str) -> Folder:
    """Make the folder of a container below `root`, which is made too; nobody has its lock."""
    folder = Store(str(root)).claim(container_id)
    folder.unlock()
    return folder


def new_record(root: Path, container_id: str) -> Record:
    """Make a folder and a record that is not written yet."""
    return Record(new_folder(root, container_id))
