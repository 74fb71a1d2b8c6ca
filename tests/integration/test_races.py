"""Several calls at once, and calls that are killed midway.

Source: docs/runc-compat/state.md#start-gate, docs/runc-compat/state.md#locking,
docs/runc-compat/state.md#leftovers.
"""

from __future__ import annotations

import contextlib
import subprocess

import pytest
from harness.box import Box
from harness.peers import peer_deviates
from harness.runtime import finish


class TestRaces:
    """Of several calls at once exactly one wins."""

    @peer_deviates("runc", "1.1 has a gap between looking and claiming", sometimes=True)
    def test_of_twenty_creates_exactly_one_wins(self, box: Box) -> None:
        container = box.container()
        container.bundle.save()
        calls = [
            box.runtime.spawn("create", "--bundle", container.bundle.path, container.id)
            for _ in range(20)
        ]
        results = [finish(*call) for call in calls]
        assert sorted(r.status for r in results) == [0] + [1] * 19, results
        for result in results:
            if result.status:
                result.failed("container with given ID already exists")
        assert container.status == "created"
        container.delete().ok()

    def test_of_two_starts_exactly_one_wins(self, box: Box) -> None:
        container = box.created(None, "sh", "-c", "echo once; sleep 100")
        calls = [box.runtime.spawn("start", container.id) for _ in range(2)]
        results = [finish(*call) for call in calls]
        assert sorted(r.status for r in results) == [0, 1]
        container.wait_output("once")
        assert container.output == "once\n"
        assert container.status == "running"

    def test_ten_containers_at_once(self, box: Box) -> None:
        bundle = box.bundle("true")
        bundle.save()
        ids = [box.container(bundle).id for _ in range(10)]
        calls = [box.runtime.spawn("run", "--bundle", bundle.path, name) for name in ids]
        assert [finish(*call).status for call in calls] == [0] * 10

    @peer_deviates("runc", "1.1 fails when a folder vanishes under it", sometimes=True)
    def test_list_tolerates_what_comes_and_goes(self, box: Box) -> None:
        bundle = box.bundle("true")
        bundle.save()
        stays = box.created()
        runs = [
            box.runtime.spawn("run", "--bundle", bundle.path, box.container(bundle).id)
            for _ in range(4)
        ]
        while any(process.poll() is None for process, _ in runs):
            found = box.runtime.call("list", "--format=json").ok().json()
            assert stays.id in [c["id"] for c in found]
        assert [finish(*run).status for run in runs] == [0] * 4


class TestKilledRuntime:
    """Whoever kills the runtime in the middle can still clean up by `delete --force`."""

    @pytest.mark.parametrize("delay_ms", [0, 2, 4, 8, 12, 16, 24, 32])
    def test_a_create_killed_midway_can_be_deleted(self, box: Box, delay_ms: int) -> None:
        container = box.container()
        process, result = box.runtime.spawn(
            "create", "--bundle", container.bundle.path, container.id, bundle=container.bundle
        )
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(delay_ms / 1000)
        process.kill()
        finish(process, result)
        container.delete("--force").ok()
        container.create().ok()
        container.delete().ok()
