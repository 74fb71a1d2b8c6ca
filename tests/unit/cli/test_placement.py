"""The list of blocks that lie together in a snapshot, and how it is read."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path

import pytest

from ocirun.cli import placement

LIST = Path(placement.__file__).with_suffix(".txt")
START = 0x1000000


def heap_of(*blocks: list[int]) -> placement.Blocks:
    """A heap with a block for each list of words, as heap.c lays them out."""
    words = [0]
    for content in blocks:
        words += [(len(content) + 1) * 8, *content]
    return placement.Blocks(memoryview(struct.pack(f"{len(words) + 1}Q", *words, 0)), START)


class TestBlocks:
    def test_are_found_by_their_headers(self) -> None:
        heap = heap_of([0] * 3, [0] * 7, [0] * 3)
        assert heap.sizes == {8: 32, 40: 64, 104: 32}

    @pytest.mark.parametrize(
        ("address", "block"), [(16, 8), (32, 8), (48, 40), (64, 40), (96, None), (4000, None)]
    )
    def test_belong_to_the_object_that_begins_in_them(self, address: int, block: int) -> None:
        """Not to one that would begin far behind the beginning."""
        assert heap_of([0] * 3, [0] * 7, [0] * 3).of(START + address) == block

    def test_lead_to_those_they_point_to(self) -> None:
        heap = heap_of([7, START + 48, 5], [0] * 7, [0] * 3)
        assert heap.led_to(8) == [(1, 40)]


def test_the_list_is_read_in_its_order(tmp_path: Path) -> None:
    file = tmp_path / "list"
    file.write_text("# about it\n[sp]\nstr 'b'\n[S]\nstr 'a'\n")
    assert placement.read_list(str(file)) == ({"str 'b'": 0, "str 'a'": 1}, 1)


def test_texts_and_tables_that_are_read_are_placed_behind_what_is_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A text is recognised by its type, since which are read is not known."""
    (tmp_path / "list").write_text("[s]\nwritten\nlarge\n[S]\ntable\n")
    monkeypatch.setattr(placement, "LIST", "/list")
    blocks = [[0] * 3, [1, id(str), 0], [0] * 511, [0] * 511, [0] * 3]
    heap = heap_of(*blocks)
    first, _, large, table, last = heap.sizes
    found = {first: "other", large: "large", table: "table", last: "written"}
    monkeypatch.setattr(placement, "name_blocks", lambda *_: found)
    places = memoryview(bytearray(len(heap.words) * 8 // 16 * 4))
    content = heap.words.cast("B")
    assert placement.place(content, START, places, str(tmp_path)) == 32 + 4096 + 32
    assert [place for place in places.cast("I") if place] == [40 + 4096, 40, 8]


LOOK_UP = """
import importlib, sys
sys.path = sys.argv[1].split(":")
for name in sys.stdin.read().split():
    words = name.split(".")
    for length in range(len(words), 0, -1):
        try:
            found = importlib.import_module(".".join(words[:length]))
            break
        except ImportError:
            found = None
    for word in words[length:]:
        found = getattr(found, word, None)
    if found is None:
        print(name)
"""


def test_the_list_is_of_these_sources() -> None:
    """A name that is gone costs nothing but its share of the gain: the list may lag, not rot.

    In a process of its own: being imported, the modules of a snapshot say that there is one.
    """
    names = [
        line.partition(" ")[2]
        for line in LIST.read_text().splitlines()
        if line.startswith("function ocirun.") and "<" not in line
    ]
    gone = subprocess.run(
        [sys.executable, "-I", "-c", LOOK_UP, ":".join(sys.path)],
        input="\n".join(names),
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert len(names) > 200
    assert len(gone) < len(names) / 10, f"`make placement` measures anew; gone: {gone}"
