"""Arrange the blocks of a snapshot so that those a verb needs are adjacent.

Python keeps reference counts inside objects: even a verb that only reads an object writes to its
page, and the kernel copies that page. In allocation order, the two thousand blocks that `create`
writes to are spread over most pages of the image; placed together they fill a hundred.

placement.txt lists the names of these blocks, and of those that are only read, in placement order,
as `make placement` (tests/bench/placement.py) measured them by running containers. It is a hint: an
unused name costs nothing, and blocks that are not listed stay in allocation order. A name is the
type of an object, and its text or its path from a module.

`_build/snapshot/dump.c` calls `place` in a process that ends afterwards.

Source: docs/fast-start.md.
"""

from __future__ import annotations

import gc
import sys
from bisect import bisect_right

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType
    from typing import Final

LIST: Final = "/ocirun/cli/placement.txt"
WORD: Final = 8
SLOT: Final = 16
LARGEST: Final = 2048  # of a larger block a verb writes only a part
LARGEST_READ: Final = 32768  # the same of what is only read, such as the table of a dict
LARGEST_NAME: Final = 128  # the block of a text that is likely to be the key of a dict
IN_FRONT: Final = 40  # bytes that may precede an object in its block
LABEL: Final = 80  # characters of a text used in a name
SIMPLE: Final = (str, bytes, int, float, complex)


def place(heap: memoryview, start: int, places: memoryview, package: str) -> int:
    """Place the listed blocks at the beginning of the region; return how many bytes they take.

    `heap` is the used part of the region of heap.c, `start` its address. `places` has a 32-bit
    number for each 16 bytes of it; the entry of a block is set to its new offset, from the start of
    the region to the block's header. `package` is the directory that contains the package ocirun.
    In a measuring build (SPREAD_BLOCKS), placement.names is written there instead: addresses and
    names.
    """
    sys.path_importer_cache.clear()  # filled by the import of this module; not in the image
    blocks = Blocks(heap, start)
    if min(blocks.sizes.values()) > LARGEST:  # SPREAD_BLOCKS of heap.c
        names = name_blocks(blocks, None)
        with open(package + LIST.replace(".txt", ".names"), "w", encoding="utf-8") as file:
            file.writelines(f"{start + at:x} {name}\n" for at, name in names.items())
        return 0
    order, written = read_list(package + LIST)
    names = name_blocks(blocks, {name.rpartition("@")[0] for name in order})
    wanted: list[tuple[int, int]] = []
    for at, size in blocks.sizes.items():
        rank = order.get(names.get(at, ""))
        if rank is None and size <= LARGEST_NAME and blocks.is_text(at):
            # Looking up a name in a dict reads the hash of others that are in its way. Which these
            # are differs with the secret of the hashes, so they cannot be listed.
            rank = len(order)
        if rank is not None and size <= (LARGEST if rank < written else LARGEST_READ):
            wanted.append((rank, at))
    wanted.sort()
    slots = places.cast("I")
    end = WORD
    for _, at in wanted:
        slots[(at + WORD) // SLOT] = end
        end += blocks.sizes[at]
    return end - WORD


def read_list(path: str) -> tuple[dict[str, int], int]:
    """Return the position of each name in the list file `path`, and how many are written to."""
    order: dict[str, int] = {}
    written, is_read = 0, False
    with open(path, encoding="utf-8") as file:
        for line in file:
            if line[0] == "[":
                is_read = line[1].isupper()
            elif line[0] != "#":
                order[line.rstrip("\n")] = len(order)
                written += not is_read
    return order, written


class Blocks:
    """The blocks of the heap of heap.c: `sizes` in bytes by the offset of their header."""

    def __init__(self, heap: memoryview, start: int) -> None:
        self.start = start
        self.words = heap.cast("Q")
        self.sizes: dict[int, int] = {}
        at = WORD
        while at < len(heap) - WORD:
            size = self.words[at // WORD]
            self.sizes[at] = size
            at += size
        self.offsets = list(self.sizes)

    def of(self, address: int) -> int | None:
        """Return the offset of the block of the object at `address`; None if there is none."""
        at = address - self.start
        if not 0 < at < self.offsets[-1]:
            return None
        block = self.offsets[bisect_right(self.offsets, at) - 1]
        return block if at - block <= IN_FRONT else None

    def is_text(self, block: int) -> bool:
        """Return whether the block is that of a str: their type is the object's second word."""
        return self.words[block // WORD + 2] == id(str)

    def led_to(self, block: int) -> list[tuple[int, int]]:
        """Return the blocks that a small block points to, each with the index of the pointer."""
        first = block // WORD + 1
        count = self.sizes[block] // WORD - 1
        found = []
        for word in range(min(count, LARGEST // WORD)):
            other = self.of(self.words[first + word])
            if other is not None and other != block:
                found.append((word, other))
        return found


def name_blocks(blocks: Blocks, owners: set[str] | None) -> dict[int, str]:
    """Return the name of each reachable block.

    A block that is no object, such as the table of a dict, is named after the block that points to
    it. `owners` restricts this to blocks of these names, because every word must be examined.
    """
    names: dict[int, str] = {}
    for kind, name, address in _objects():
        block = blocks.of(address)
        if block is not None and block not in names:
            names[block] = f"{kind} {name}"
    for _ in range(2):
        for block, name in list(names.items()):
            if owners is None or name in owners:
                for word, other in blocks.led_to(block):
                    names.setdefault(other, f"{name}@{word}")
    return names


def _objects() -> list[tuple[str, str, int]]:
    """Return (type, name, address) of every object reachable from modules, in a fixed order."""
    seen: set[int] = set()
    queue: list[tuple[object, str]] = []
    found: list[tuple[str, str, int]] = []

    def add(thing: object, name: str) -> None:
        if id(thing) in seen:
            return
        seen.add(id(thing))
        kind = type(thing)
        if kind in SIMPLE:
            name = ascii(thing)[:LABEL]
        elif kind in NAMED:
            name = f"{getattr(thing, '__module__', '')}.{getattr(thing, '__qualname__', name)}"
        found.append((kind.__name__, name, id(thing)))
        queue.append((thing, name))

    for module_name in list(sys.modules):
        if module_name != __name__:
            add(sys.modules[module_name], module_name)
    for thing, name in queue:
        if type(thing) is CODE:
            for role, part in _parts_of_code(thing):
                add(part, name + role)
        elif type(thing) is dict:
            for key, value in list(thing.items()):
                label = ascii(key)[1:-1][:LABEL] if type(key) is str else "?"
                add(value, f"{name}.{label}")
                add(key, f"{name}.{label}!")
        elif isinstance(thing, type):  # gc does not track built-in types
            add(gc.get_referents(vars(thing))[0], f"{name}/0")
            add(thing.__mro__, f"{name}.__mro__")
            add(thing.__bases__, f"{name}.__bases__")
        add(type(thing), "")
        for number, other in enumerate(gc.get_referents(thing)):
            add(other, name if type(thing) is MODULE else f"{name}/{number}")
    return found


def _parts_of_code(code: CodeType) -> list[tuple[str, object]]:
    """Return the parts of a code object, which gc does not track."""
    parts: list[tuple[str, object]] = [(f"#{n}", part) for n, part in enumerate(code.co_consts)]
    parts += [("#consts", code.co_consts), ("#names", code.co_names)]
    texts = (*code.co_names, *code.co_varnames, code.co_name, code.co_qualname)
    parts += [("#", part) for part in texts]
    return [*parts, ("#lines", code.co_linetable)]


CODE: Final = type(place.__code__)
MODULE: Final = type(sys)
NAMED: Final = {type, type(place)}
