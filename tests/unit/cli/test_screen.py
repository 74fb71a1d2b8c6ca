"""The table of `top`, drawn without a terminal."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from ocirun.cli.screen import table
from ocirun.container.usage import Usage


def usage(container_id: str, percent: float | None = None) -> Usage:
    found = Usage(container_id, "running")
    found.cpu_percent = percent
    found.cpu_history = [0, 100]
    found.memory = 64 << 20
    found.memory_limit = 128 << 20
    found.memory_history = [64 << 20]
    found.pids, found.pids_limit = 3, 10
    found.read_rate, found.write_rate = 2048, 0
    found.waiting = {"cpu": 12.5, "memory": 0}
    return found


def drawn(usages: list[Usage], columns: int, lines: int) -> list[str]:
    out = io.StringIO()
    console = Console(file=out, width=columns, height=lines, color_system=None)
    console.print(table(usages, columns, lines, "1s"))
    return out.getvalue().splitlines()


def test_a_row_has_every_column() -> None:
    head, row, last = drawn([usage("web", 50.0)], 140, 20)
    titles = "CONTAINER STATUS CPU MEMORY LIMIT PIDS READ WRITE WAIT C/M/I"
    assert head.split() == titles.split()
    assert row.split() == [
        *("web", "running", "50.0%", "▁█", "64M", "▅", "128M", "3/10", "2.0K/s", "0B/s"),
        "12/0/0",
    ]
    assert last.startswith("1 container · every 1s")


def test_what_is_not_known() -> None:
    bare = Usage("web", "stopped")
    assert drawn([bare], 80, 20)[1].split() == ["web", "stopped", *"-------"]


def test_without_containers_the_screen_says_so() -> None:
    assert drawn([], 80, 20)[-1].startswith("no running containers")


def test_the_busiest_first_and_no_more_than_fit() -> None:
    many = [usage(f"c{number}", float(number)) for number in range(30)]
    lines = drawn(many, 140, 10)
    assert len(lines) == 9
    assert [line.split()[0] for line in lines[1:4]] == ["c29", "c28", "c27"]
    assert "30 containers, 23 more than fit" in lines[-1]


@pytest.mark.parametrize("columns", [1, 20, 60, 99, 100, 139, 140, 400])
def test_no_line_is_wider_than_the_terminal(columns: int) -> None:
    lines = drawn([usage("a" * 255, 1.0)], columns, 12)
    assert max(map(len, lines)) <= columns


def test_brackets_are_letters() -> None:
    assert "[bold]" in drawn([usage("[bold]")], 140, 10)[1]
