"""Who the command is, and which ids are mapped.

Source: passwd(5), subuid(5); docs/try.md#rootless.
"""

from __future__ import annotations

import os

import pytest

from ocirun.errors import UsageError
from ocirun.throwaway import identity
from ocirun.throwaway.identity import mappings_of_caller, user_of

FILES = {
    "/etc/passwd": ["root:x:0:0::/root:/bin/sh", "me:x:{uid}:7::/:/bin/sh", "42:x:1:1::/:/bin/sh"],
    "/etc/subuid": ["other:1:1", "me:100000:70000"],
    "/etc/subgid": ["me:200000:10"],
}


@pytest.fixture(autouse=True)
def files(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    files = {
        name: [line.replace("{uid}", str(os.geteuid())) for line in lines]
        for name, lines in FILES.items()
    }
    monkeypatch.setattr(identity, "_lines", lambda path: files.get(path, []))
    monkeypatch.setattr(identity, "find_in_path", lambda name: f"/usr/bin/{name}")
    return files


@pytest.mark.parametrize(
    ("text", "user"),
    [
        ("", (0, 0)),
        ("5", (5, 0)),
        ("5:6", (5, 6)),
        ("me", (os.geteuid(), 7)),
        ("42", (42, 0)),  # a number, although a user has this name
    ],
)
def test_a_user_is_numbers_or_a_name(text: str, user: tuple[int, int]) -> None:
    assert user_of(text, may_name=True) == {"uid": user[0], "gid": user[1]}


@pytest.mark.parametrize("text", ["nobody-here", "-1", "1:", ":1", "1:x", "4294967295", "5x", "٣"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        user_of(text, may_name=True)


def test_an_image_names_nobody() -> None:
    with pytest.raises(UsageError, match="must be numbers"):
        user_of("me", may_name=False)


def test_subordinate_ids_follow_the_callers_own() -> None:
    uids, gids = mappings_of_caller()
    own = {"containerID": 0, "hostID": os.geteuid(), "size": 1}
    assert uids == [own, {"containerID": 1, "hostID": 100000, "size": 65536}]
    assert gids[1] == {"containerID": 1, "hostID": 200000, "size": 10}


@pytest.mark.parametrize("missing", ["/etc/subuid", "/etc/subgid"])
def test_without_one_of_the_files_there_is_one_id(
    files: dict[str, list[str]], missing: str
) -> None:
    files[missing] = ["me:1", "me:x:5", "other:1:5"]
    assert [len(one) for one in mappings_of_caller()] == [1, 1]


def test_without_the_helpers_there_is_one_id(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "find_in_path", lambda _: None)
    assert [len(one) for one in mappings_of_caller()] == [1, 1]
