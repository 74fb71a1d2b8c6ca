"""A damaged networks.json hurts no other container, and is no reason for `delete --force` to fail.

Source: docs/network.md#networks.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from harness.box import Box, Container
from harness.bundle import Bundle
from harness.needs import needs
from harness.networks import Net, tables

pytestmark = [pytest.mark.integration, needs("root", "ours", "tool ip", "tool nsenter")]

NETWORK = {"type": "veth", "bridge": "oci0", "pools": ["10.9.0.0/24"], "masquerade": True}


def networked(box: Box) -> Bundle:
    bundle = box.bundle("/probe", "wait")
    bundle.config["annotations"] = {"org.ocirun.networks": json.dumps([NETWORK])}
    return bundle


def _text(path: Path) -> None:
    path.write_text("[{")


def _fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _link(path: Path) -> None:
    target = path.with_name("elsewhere")
    path.rename(target)
    path.symlink_to(target)


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def damaged(box: Box, damage: Callable[[Path], None]) -> tuple[Container, Container]:
    """Two containers on one bridge; the file of the first is damaged."""
    first, second = (box.running(networked(box)) for _ in range(2))
    damage(box.runtime.root / first.id / "networks.json")
    return first, second


@pytest.mark.parametrize("damage", [_text, _fifo, _link, _folder])
def test_the_other_container_is_deleted_and_what_is_shared_stays(
    box: Box, net: Net, damage: Callable[[Path], None]
) -> None:
    first, second = damaged(box, damage)
    refused = box.container(networked(box)).create()
    refused.failed(f"{first.id}/networks.json is damaged: ", "Delete it with --force")
    second.kill("KILL").ok()
    second.wait_status("stopped")
    done = second.delete().ok()
    assert "is damaged" in done.log
    assert '"level":"warning"' in done.log
    assert net.addresses("oci0")
    first.kill("KILL").ok()
    first.wait_status("stopped")
    first.delete().failed("networks.json is damaged: ", "are left on the host")
    assert first.status == "stopped"  # to be deleted again
    done = first.delete("--force").ok()
    assert "networks.json is damaged: " in done.log
    assert [name for name in os.listdir(box.runtime.root) if name[0] != "@"] == []
    assert [name.startswith("ocirun-oci0-") for name in tables()] == [True]


def test_a_link_in_the_state_root_is_nobody(box: Box, net: Net, tmp_path: Path) -> None:  # noqa: ARG001
    (tmp_path / "networks.json").write_text("damaged")
    first = box.running(networked(box))
    (box.runtime.root / "link").symlink_to(tmp_path)
    box.running(networked(box))
    first.delete("--force").ok()
    (box.runtime.root / "link").unlink()
