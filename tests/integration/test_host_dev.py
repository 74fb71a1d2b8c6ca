"""The harness notices what happens to device nodes, and keeps it from the host."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from harness.host_dev import HostDev, differences, nodes
from harness.needs import needs

pytestmark = needs("root", "ours")


def test_a_replaced_node_a_new_owner_and_a_new_file_are_told(host_dev: HostDev) -> None:
    full = Path("/dev/full")
    full.unlink()
    full.write_text("a pid")
    os.chown("/dev/null", 1000, 1000)
    Path("/dev/pidfile").touch()
    with pytest.raises(AssertionError) as failure:
        host_dev.check()
    for words in ("full was crw-rw-rw- 0:0 1:7, is -rw", "null was", "pidfile was not there"):
        assert words in str(failure.value)
    host_dev.check()  # it has made them anew
    assert os.stat("/dev/full").st_rdev == os.makedev(1, 7)


def test_the_nodes_of_the_host_are_others(host_dev: HostDev) -> None:
    host = os.stat("null", dir_fd=host_dev.host_fd)
    ours = os.stat("/dev/null")
    assert (host.st_dev, host.st_ino) != (ours.st_dev, ours.st_ino)
    assert host.st_rdev == ours.st_rdev


def test_what_is_plugged_in_meanwhile_is_no_change(host_dev: HostDev) -> None:
    before = nodes(host_dev.host_fd)
    after = {**before, "loop99": before["null"]}
    assert differences(before, after) == {}
    assert "null" in differences(after, {"loop99": before["null"]})
