"""set_mempolicy(2): the NUMA memory policy."""

from __future__ import annotations

from ocirun.kernel._native import ffi, lib
from ocirun.kernel.oserror import oserror


def set_mempolicy(mode: int, nodes: int) -> None:
    """Set our memory policy; children and execve inherit it.

    `mode` is MPOL_* with its flags; bit n of `nodes` stands for node n, of any number of nodes.

    Raises:
        OSError: EINVAL when no node of `nodes` is there and allowed, or the mode takes none;
            ENOSYS on a kernel without NUMA.

    Source: set_mempolicy(2).
    """
    word_bits = 8 * ffi.sizeof("unsigned long")
    words = []
    rest = nodes
    while rest:
        words.append(rest & (1 << word_bits) - 1)
        rest >>= word_bits
    nodemask = ffi.new("unsigned long[]", words) if words else ffi.NULL
    # Kernel: maxnode counts one more than the bits it reads.
    maxnode = len(words) * word_bits + 1 if words else 0
    if lib.sys_set_mempolicy(mode, nodemask, maxnode) < 0:
        raise oserror(ffi.errno, f"set_mempolicy({mode:#x}, {nodes:#x}, {maxnode})")
