"""One user namespace for each distinct mapping. Source: ocirun/process/idmapped_mounts.py."""

from __future__ import annotations

import os
from typing import Any

import pytest

from ocirun.process import idmapped_mounts
from ocirun.process.bind_sources import late_sources
from ocirun.rootfs.context import Entry, read_entries


def maps(host: int) -> Any:  # noqa: ANN401
    return [{"containerID": 0, "hostID": host, "size": 1}]


def test_equal_mappings_share_a_namespace(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []

    def make(*mappings: Any) -> int:  # noqa: ANN401
        made.append(mappings)
        return os.open("/dev/null", os.O_RDONLY)

    monkeypatch.setattr(idmapped_mounts, "make_user_namespace", make)
    with idmapped_mounts._MapNamespaces() as namespaces:
        first = namespaces.get(maps(1), maps(2))
        assert namespaces.get(maps(1), maps(2)) == first
        assert namespaces.get(maps(2), maps(1)) != first
    assert made == [(maps(1), maps(2)), (maps(2), maps(1))]
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(first)


@pytest.mark.parametrize(
    ("mount", "answer"),
    [
        ({"options": ["rbind"]}, False),
        ({}, False),
        ({"options": ["bind", "idmap"]}, True),
        ({"options": ["rbind", "ridmap"]}, True),
        ({"options": ["bind"], "uidMappings": maps(1), "gidMappings": maps(1)}, True),
        ({"options": ["bind", "idmap=uids=0-1-1;gids=0-1-1"]}, True),
    ],
)
def test_which_mounts_it_is_about(mount: Any, *, answer: bool) -> None:  # noqa: ANN401
    assert Entry({"destination": "/a", "source": "b", **mount}, 0, "/b").is_idmapped is answer


def test_a_source_on_an_earlier_mount_is_opened_late() -> None:
    def bind(source: str) -> dict[str, Any]:
        return {"destination": "/other", "source": source, "options": ["bind"]}

    config: Any = {
        "mounts": [
            bind("rootfs/data"),  # not a mount yet
            {"destination": "/data", "type": "tmpfs"},
            bind("/b/rootfs/data/deep"),
            bind("rootfs/./data"),
            bind("/b/rootfs/database"),
            bind("/data"),  # the host's
        ]
    }
    assert late_sources(read_entries(config, "/b", "/b/rootfs")) == [2, 3]
