"""The flags of exec that change the container's own process."""

from __future__ import annotations

import pytest

from ocirun.cli.commands.exec import read_user
from ocirun.cli.commands.ps import rows_of
from ocirun.errors import SetupError, UsageError


@pytest.mark.parametrize(
    ("text", "user"),
    [
        ("0", {"uid": 0}),
        ("1", {"uid": 1}),
        ("1:2", {"uid": 1, "gid": 2}),
        ("4294967294:4294967294", {"uid": 4294967294, "gid": 4294967294}),
        ("007", {"uid": 7}),
    ],
)
def test_user_takes_numbers(text: str, user: dict[str, int]) -> None:
    assert read_user(text) == user


@pytest.mark.parametrize(
    "text",
    ["", ":", "1:", ":1", "root", "1:root", "-1", "+1", "1.0", "0x1", "4294967295", "1:2:3", "²"],
)
def test_user_refuses_everything_else(text: str) -> None:
    with pytest.raises(UsageError, match="must be a number"):
        read_user(text)


TABLE = "  PID TTY  CMD\n    7 ?    seven 8\n    8 ?    eight\n   78 ?    other\n"


def test_rows_of_ps() -> None:
    assert rows_of(TABLE, {"8"}) == "  PID TTY  CMD\n    8 ?    eight\n"
    assert rows_of(TABLE, set()) == "  PID TTY  CMD\n"
    # The row of another process stays one row.
    assert rows_of("PID CMD\n7 a\f8 b\n", {"8"}) == "PID CMD\n"


@pytest.mark.parametrize("text", ["", "CMD\nx\n", "\n"])
def test_a_table_without_pids(text: str) -> None:
    with pytest.raises(SetupError, match="couldn't find PID field"):
        rows_of(text, {"8"})
