"""What of a container's words counts as ready, which addresses are ones, which names are good.

Source: sd_notify(3), sd_listen_fds_with_names(3); docs/notify.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from harness.records import new_folder

from ocirun.container.request import names_of_listen_fds
from ocirun.container.sd_notify import MAX_MESSAGE, check_notify, give_notify, is_ready, open_notify
from ocirun.errors import UsageError

CONFIG: Any = {
    "process": {"args": ["x"], "cwd": "/", "env": ["A=1"]},
    "mounts": [{"destination": "/proc"}],
    "linux": {"namespaces": [{"type": "mount"}]},
}


@pytest.mark.parametrize(
    ("message", "ready"),
    [
        (b"READY=1", True),
        (b"READY=1\n", True),
        (b"STATUS=x\nREADY=1\nMAINPID=1", True),
        (b"READY=10", False),
        (b"READY=0", False),
        (b"XREADY=1", False),
        (b" READY=1", False),
        (b"READY=1\r\n", False),
        (b"READY=1\0", False),
        (b"", False),
        (b"\xff\xfe", False),
        (b"READY=1\n" + b"x" * (MAX_MESSAGE - 8), True),
        (b"READY=1\n" + b"x" * (MAX_MESSAGE - 7), False),  # longer than what was read
    ],
)
def test_ready_is_one_line(message: bytes, ready: bool) -> None:
    assert is_ready(message) == ready


@pytest.mark.parametrize("address", ["x", "./x", "@", "/", "vsock:1:2", " /x"])
def test_an_address_is_a_path_or_an_abstract_name(address: str) -> None:
    with pytest.raises(UsageError, match="NOTIFY_SOCKET"):
        check_notify(CONFIG, address)


@pytest.mark.parametrize("address", ["/run/systemd/notify", "@name"])
def test_a_good_one_is_let_through(address: str) -> None:
    check_notify(CONFIG, address)


def test_the_kept_configuration_stays_as_it_is(tmp_path: Path) -> None:
    before = repr(CONFIG)
    given = give_notify(CONFIG, new_folder(tmp_path, "web"))
    assert repr(CONFIG) == before
    assert given["process"]["env"] == ["A=1", "NOTIFY_SOCKET=/run/notify/notify.sock"]
    assert [mount["destination"] for mount in given["mounts"]] == ["/proc", "/run/notify"]
    assert (tmp_path / "web" / "notify").stat().st_mode & 0o777 == 0o755


def test_without_the_folder_nobody_listens(tmp_path: Path) -> None:
    folder = new_folder(tmp_path, "web")
    assert open_notify(folder, "/no/such/socket") is None
    (tmp_path / "web" / "notify").mkdir()
    assert open_notify(folder, None) is None


@pytest.mark.parametrize(
    ("count", "names", "given"),
    [
        (0, "a", ""),
        (1, "a", "a"),
        (2, "a:b", "a:b"),
        (2, ":", ":"),
        (2, "a", ""),
        (1, "a:b", ""),
        (1, "a\n", ""),
        (1, "\u00e4", ""),
        (1, "", ""),
    ],
)
def test_names_of_sockets(
    monkeypatch: pytest.MonkeyPatch, count: int, names: str, given: str
) -> None:
    monkeypatch.setenv("LISTEN_FDNAMES", names)
    assert names_of_listen_fds(count) == given
