"""crun's way to map the ids of a mount. Source: crun(1), "idmap mount options"."""

from __future__ import annotations

from typing import Any

import pytest

from ocirun.spec.id_map_option import read_id_maps, wrong_id_maps


def maps(*entries: tuple[int, int, int]) -> list[dict[str, int]]:
    return [{"containerID": i, "hostID": o, "size": n} for i, o, n in entries]


LINUX: Any = {"uidMappings": maps((0, 0, 1), (1, 2, 1000)), "gidMappings": maps((0, 5000, 10))}


def test_triplets_of_uids_and_gids() -> None:
    assert read_id_maps("uids=0-1-10#10-11-10;gids=0-100-10", {}) == (
        maps((0, 1, 10), (10, 11, 10)),
        maps((0, 100, 10)),
    )


def test_an_at_sign_means_an_id_of_the_user_namespace() -> None:
    """The example of the manual page: 3 is 4 on the host."""
    uids, gids = read_id_maps("gids=@7-1-2;uids=@1-3-10", LINUX)
    assert (uids, gids) == (maps((1, 4, 10)), maps((7, 5001, 2)))


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("uids=0-1-10", "both uids= and gids="),
        ("uids=0-1-10;uids=0-1-10", 'not "uids=" or "gids="'),
        ("users=0-1-10;gids=0-1-10", 'not "uids=" or "gids="'),
        ("", 'not "uids=" or "gids="'),
        ("uids=;gids=0-1-1", "three numbers"),
        ("uids=0-1;gids=0-1-1", "three numbers"),
        ("uids=0-1-\u00b2;gids=0-1-1", "three numbers"),
        ("uids=0--1-1;gids=0-1-1", "three numbers"),
        ("uids=0-1-0;gids=0-1-1", "out of range"),
        ("uids=0-4294967295-2;gids=0-1-1", "out of range"),
        ("uids=@0-5000-1;gids=0-1-1", "no mapping for"),
    ],
)
def test_what_is_no_such_value_is_refused(value: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read_id_maps(value, LINUX)
    assert words in wrong_id_maps([f"ridmap={value}"], LINUX, has_maps=False)


def test_ids_are_mapped_in_one_way() -> None:
    good = "idmap=uids=0-1-1;gids=0-1-1"
    assert wrong_id_maps([good], {}, has_maps=False) == ""
    assert "one way only" in wrong_id_maps([good], {}, has_maps=True)
    assert "one way only" in wrong_id_maps([good, good], {}, has_maps=False)
