"""The counters of one cgroup as runc tells them and as we do: the same keys, the same values."""
# ruff: noqa: ANN401  # documents are JSON

from __future__ import annotations

import json
import shutil
from collections.abc import Generator
from typing import Any

import pytest
from harness.box import Box, Container
from harness.machine import cgroup_hierarchies
from harness.needs import needs
from harness.runtime import Runtime

from ocirun.cgroups.stat import stat
from ocirun.container.stats import for_json
from ocirun.spec.jsontext import compact

pytestmark = [pytest.mark.integration, needs("root", "ours", "tool runc")]

MB = 1 << 20
# What newer releases of runc tell on v2 and 1.1 does not.
# What runc lists on v2 by its version: 1.1.5 no peak, 1.1.15 (Debian 13) no sizes of huge pages,
# neither of them pressure.
BY_VERSION = ("cpu.psi", "memory.psi", "blkio.psi", "memory.usage.max", "hugetlb.")
# Counted on while two programs ask one after the other.
MOVING = ("cpu.usage", "memory.raw", "memory.usage", "memory.swap", "memory.kernel", "psi")


@pytest.fixture
def theirs(box: Box) -> Generator[Container, None, None]:
    """A container that runc made and that does nothing."""
    path = shutil.which("runc")
    assert path is not None
    folder = box.folder / "runc"
    folder.mkdir()
    runtime = Runtime("runc", path, folder)
    bundle = box.bundle("/probe", "wait")
    bundle.linux["resources"] = {
        "memory": {"limit": 64 * MB},
        "pids": {"limit": 20},
        "cpu": {"quota": 50_000, "period": 100_000},
    }
    container = Container(runtime, bundle, box.container(bundle).id + "-runc")
    container.create().ok()
    container.start().ok()
    container.wait_output("ready")
    yield container
    container.delete("--force").ok()


def ours(container: Container) -> tuple[str, Any]:
    """Read the same cgroup; give the line as `events` writes it, and its document."""
    record = json.loads((container.runtime.root / container.id / "state.json").read_text())
    found = {**stat(record["cgroup_paths"]), "intel_rdt": {}, "network_interfaces": None}
    line = compact({"type": "stats", "id": container.id, "data": for_json(found)}) + "\n"
    return line, json.loads(line)["data"]


def flat(value: Any, at: str = "") -> dict[str, Any]:
    """Return every leaf of a document by its path, in the order of the document."""
    if isinstance(value, dict):
        found = {at + ".": None} if at else {}
        for key, inner in value.items():
            found |= flat(inner, f"{at}.{key}" if at else key)
        return found
    return {at: value}


def is_v2() -> bool:
    return list(cgroup_hierarchies()) == [""]


def as_of_its_version(document: dict[str, Any], runc: dict[str, Any]) -> dict[str, Any]:
    """Leave out what only another version of runc would list."""
    return {
        key: value
        for key, value in document.items()
        if key in runc or not key.startswith(BY_VERSION)
    }


def test_every_key_in_the_same_order_and_the_same_value(theirs: Container) -> None:
    def read() -> tuple[dict[str, Any], dict[str, Any], str, str]:
        """Read ours between two readings of theirs that agree, so that nothing has moved."""
        for _ in range(20):
            before = theirs.runtime.call("events", "--stats", theirs.id).ok()
            line, mine = ours(theirs)
            after = theirs.runtime.call("events", "--stats", theirs.id).ok()
            if before.stdout == after.stdout:
                return flat(before.json()["data"]), flat(mine), before.stdout, line
        return flat(before.json()["data"]), flat(mine), before.stdout, line

    runc, mine, runc_line, my_line = read()
    if is_v2():
        mine = as_of_its_version(mine, runc)
    assert list(mine) == list(runc)
    moved = {key for key in runc if mine[key] != runc[key]}
    # failcnt on v2 is ours alone (memory.usage and .swap): runc leaves 0 there.
    assert [key for key in moved if not key.startswith(MOVING)] == []
    if not moved and len(runc) == len(flat(json.loads(my_line)["data"])):
        assert my_line == runc_line
    for key in moved:
        if isinstance(runc[key], int):
            assert abs(mine[key] - runc[key]) <= max(1 * MB, runc[key] // 2), key
