"""A systemd of the tests' own in the place of the machine's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.dbus_peer import Peer

from ocirun.cgroups.systemd import bus, manager


@pytest.fixture
def peer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Peer]:
    peer = Peer(tmp_path / "bus")
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", peer.address)
    monkeypatch.setattr(manager, "BOOTED", str(tmp_path))
    monkeypatch.setattr(bus, "PRIVATE_SOCKET", str(tmp_path / "no-such-socket"))
    monkeypatch.setattr(manager.os, "geteuid", lambda: 0)
    monkeypatch.setattr("ocirun.kernel.procstat.is_in_user_namespace", lambda: False)
    yield peer
    peer.close()
