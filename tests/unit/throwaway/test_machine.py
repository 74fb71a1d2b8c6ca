"""What of this machine is masked.

Source: docs/try.md#what-the-container-sees.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path

from ocirun.throwaway.machine import secrets, sockets


def test_only_what_everybody_may_read_is_no_secret(tmp_path: Path) -> None:
    for name, mode in (("open", 0o644), ("group", 0o640), ("owner", 0o600), ("write", 0o602)):
        (tmp_path / name).touch()
        (tmp_path / name).chmod(mode)
    for name, mode in (("searched", 0o755), ("listed", 0o744), ("entered", 0o711)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
        (tmp_path / name / "file").chmod(0o600)
        (tmp_path / name).chmod(mode)
    (tmp_path / "link").symlink_to("owner")
    found = {os.path.relpath(path, tmp_path) for path in secrets((str(tmp_path),))}
    assert found == {"group", "owner", "write", "searched/file", "listed", "entered"}


def test_a_directory_that_is_not_there_has_no_secrets(tmp_path: Path) -> None:
    assert list(secrets((str(tmp_path / "nowhere"),))) == []


def test_a_socket_is_found_below_its_directory_only(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "a socket"))
        assert list(sockets((str(tmp_path),))) == [f"{tmp_path}/a socket"]
        assert list(sockets((f"{tmp_path}/other",))) == []
