"""What an ordinary user's configuration may not hold. Source: ocirun/process/rootless.py."""

from __future__ import annotations

from typing import Any

import pytest

from ocirun.errors import SpecError
from ocirun.process import rootless, userns_maps
from ocirun.process.rootless import check_rootless

OWN = 1000


@pytest.fixture(autouse=True)
def _not_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rootless.os, "geteuid", lambda: OWN)
    monkeypatch.setattr(rootless.os, "getegid", lambda: OWN)


def config(*maps: tuple[int, int, int], **process: Any) -> Any:  # noqa: ANN401
    entries = [{"containerID": i, "hostID": o, "size": n} for i, o, n in maps or ((0, OWN, 1),)]
    return {
        "process": process,
        "mounts": [],
        "linux": {
            "namespaces": [{"type": "user"}],
            "uidMappings": entries,
            "gidMappings": entries,
        },
    }


def pointers(document: Any) -> list[str]:  # noqa: ANN401
    with pytest.raises(SpecError) as refusal:
        check_rootless(document)
    return [problem.pointer for problem in refusal.value.problems]


def test_the_default_passes() -> None:
    check_rootless(config())
    check_rootless(config((0, OWN, 1), (1, 100000, 65536), user={"uid": 65536, "gid": 1}))


def test_no_user_namespace() -> None:
    document = config()
    document["linux"]["namespaces"] = []
    assert "/linux/namespaces" in pointers(document)


def test_additional_groups_are_refused() -> None:
    document = config(user={"uid": 0, "gid": 0, "additionalGids": [0]})
    assert pointers(document) == ["/process/user/additionalGids"]


def test_ids_that_are_not_mapped() -> None:
    document = config(user={"uid": 1, "gid": 2})
    assert pointers(document) == ["/process/user/uid", "/process/user/gid"]


@pytest.mark.parametrize(
    ("option", "refused"), [("gid=5", True), ("uid=0", False), ("uid=x", False)]
)
def test_owners_of_mounts(option: str, *, refused: bool) -> None:
    document = config()
    document["mounts"] = [{"destination": "/dev/pts", "options": ["nosuid", option]}]
    if refused:
        assert pointers(document) == ["/mounts/0/options"]
    else:
        check_rootless(document)


def test_a_map_to_the_hosts_root_is_refused() -> None:
    assert pointers(config((0, 0, 1))) == ["/linux/uidMappings/0", "/linux/gidMappings/0"]


@pytest.mark.parametrize(
    ("maps", "alone"),
    [
        (((0, OWN, 1),), True),
        (((5, OWN, 1),), True),
        (((0, OWN, 2),), False),
        (((0, 5, 1),), False),
    ],
)
def test_a_map_of_the_caller_alone(maps: tuple[tuple[int, int, int], ...], *, alone: bool) -> None:
    entries: Any = [{"containerID": i, "hostID": o, "size": n} for i, o, n in maps]
    assert userns_maps.maps_only(entries, OWN) is alone
