"""Where the blocks of a snapshot lie: those that a verb needs, beside each other.

Python counts references inside the objects: a verb that only reads an object writes to its page,
and the kernel makes a copy of that page. In the order in which they are taken, the two thousand
blocks that `create` writes to are spread over most pages of the image; side by side they fill a
hundred.

placement.txt has the names of these blocks, and of those that are only read, in the order in which
they are to lie, as `make placement` (tests/bench/placement.py) found them by running containers. It
is a hint: a name that nothing has any more costs nothing, and a block without a name in it lies
where it would without the list. A name is the type of an object, and its text or what leads to it
from a module.

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
LARGEST: Final = 2048  # of larger blocks a verb writes to a part
IN_FRONT: Final = 40  # bytes that may precede an object in its block
LABEL: Final = 80  # letters of a text that are a part of a name
SIMPLE: Final = (str, bytes, int, float, complex)


def place(heap: memoryview, start: int, places: memoryview, package: str) -> int:
    """Decide where the blocks in the list go; return how many bytes they take at the beginning.

    `heap` is the region of heap.c as far as it is used, `start` its address. `places` has a 32-bit
    number for each 16 bytes of it: in the one of a block its new offset is written, from the start
    of the region to its header. `package` is the folder that has the package ocirun. Where blocks
    are spread out to be measured, placement.names is written there instead: addresses and names.
    """
    sys.path_importer_cache.clear()  # filled by the import of this module; not in the image
    blocks = Blocks(heap, start)
    if min(blocks.sizes.values()) > LARGEST:  # SPREAD_BLOCKS of heap.c
        names = name_blocks(blocks, None)
        with open(package + LIST.replace(".txt", ".names"), "w", encoding="utf-8") as file:
            file.writelines(f"{start + at:x} {name}\n" for at, name in names.items())
        return 0
    order = read_list(package + LIST)
    names = name_blocks(blocks, {name.rpartition("@")[0] for name in order})
    wanted: list[tuple[int, int]] = []
    for at, name in names.items():
        rank = order.get(name)
        if rank is not None and blocks.sizes[at] <= LARGEST:
            wanted.append((rank, at))
    wanted.sort()
    slots = places.cast("I")
    end = WORD
    for _, at in wanted:
        slots[(at + WORD) // SLOT] = end
        end += blocks.sizes[at]
    return end - WORD


def read_list(path: str) -> dict[str, int]:
    """Return the place of each name in the list that is the file `path`."""
    with open(path, encoding="utf-8") as file:
        rows = [line.rstrip("\n") for line in file if line[0] not in "#["]
    return {name: number for number, name in enumerate(rows)}


class Blocks:
    """The blocks of the heap, as heap.c cuts it: `sizes` by the offset of their header."""

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
        """Return the offset of the block in which an object at `address` begins, None without."""
        at = address - self.start
        if not 0 < at < self.offsets[-1]:
            return None
        block = self.offsets[bisect_right(self.offsets, at) - 1]
        return block if at - block <= IN_FRONT else None

    def led_to(self, block: int) -> list[tuple[int, int]]:
        """Return the blocks that a small block points to, each with the word that does."""
        first = block // WORD + 1
        count = self.sizes[block] // WORD - 1
        found = []
        for word in range(min(count, LARGEST // WORD)):
            other = self.of(self.words[first + word])
            if other is not None and other != block:
                found.append((word, other))
        return found


def name_blocks(blocks: Blocks, owners: set[str] | None) -> dict[int, str]:
    """Return the name of each block that something leads to.

    What is no object, as the table of a dict, is named after the block that points to it: those of
    `owners` alone, if given, since every word has to be looked at.
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
    """Return type, name and address of every object that modules lead to, always in one order."""
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
        elif isinstance(thing, type):  # the collector does not know what is built in
            add(gc.get_referents(vars(thing))[0], f"{name}/0")
            add(thing.__mro__, f"{name}.__mro__")
            add(thing.__bases__, f"{name}.__bases__")
        add(type(thing), "")
        for number, other in enumerate(gc.get_referents(thing)):
            add(other, name if type(thing) is MODULE else f"{name}/{number}")
    return found


def _parts_of_code(code: CodeType) -> list[tuple[str, object]]:
    """Return what a code object has: the collector does not know it."""
    parts: list[tuple[str, object]] = [(f"#{n}", part) for n, part in enumerate(code.co_consts)]
    parts += [("#consts", code.co_consts), ("#names", code.co_names)]
    parts += [("#", part) for part in (*code.co_names, *code.co_varnames, code.co_qualname)]
    return [*parts, ("#lines", code.co_linetable)]


CODE: Final = type(place.__code__)
MODULE: Final = type(sys)
NAMED: Final = {type, type(place)}
