"""`list`.

Source: docs/runc-compat/cli.md#list.
"""

from __future__ import annotations

import json

from harness.box import Box
from harness.peers import peer_deviates


class TestList:
    """`list`."""

    def test_json_has_a_state_for_each_container(self, box: Box) -> None:
        first, second = box.created(), box.running()
        found = box.runtime.call("list", "--format", "json").ok().json()
        assert {(c["id"], c["status"]) for c in found} == {
            (first.id, "created"),
            (second.id, "running"),
        }
        assert {c["owner"] for c in found} == {"root"}
        assert {c["pid"] for c in found} == {first.pid, second.pid}

    @peer_deviates("crun", "prints []")
    def test_json_of_nothing_is_null(self, box: Box) -> None:
        box.runtime.root.mkdir()
        assert box.runtime.call("list", "--format=json").ok().stdout in ("null\n", "null")

    @peer_deviates("crun", "has columns of its own")
    def test_the_table_has_aligned_columns(self, box: Box) -> None:
        container = box.created()
        header, row = box.runtime.call("list").ok().stdout.splitlines()
        assert header.split() == ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]
        assert row.split()[:4] == [
            container.id,
            str(container.pid),
            "created",
            str(container.bundle.path),
        ]
        assert row.split()[-1] == "root"
        for word in ("PID", "STATUS", "BUNDLE", "CREATED", "OWNER"):
            column = header.index(f" {word}") + 1
            assert row[column - 1] == " "
            assert row[column] != " "

    def test_quiet_prints_ids(self, box: Box) -> None:
        ids = {box.created().id for _ in range(2)}
        assert set(box.runtime.call("list", "--quiet").ok().stdout.split()) == ids
        assert set(box.runtime.call("list", "-q").ok().stdout.split()) == ids

    @peer_deviates("runc", "1.1 makes the folder and lists nothing")
    def test_a_root_that_is_named_and_missing_is_an_error(self, box: Box) -> None:
        assert not box.runtime.root.exists()
        box.runtime.call("list").failed("no such file or directory")

    def test_a_broken_folder_is_skipped(self, box: Box) -> None:
        container = box.created()
        (box.runtime.root / "broken").mkdir()
        call = box.runtime.call("list", "--format", "json")
        quiet = box.runtime.call("list", "--quiet")
        (box.runtime.root / "broken").rmdir()
        assert [c["id"] for c in json.loads(call.ok().stdout)] == [container.id]
        assert quiet.ok().stdout.split() == [container.id]
