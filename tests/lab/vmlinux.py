"""Take the kernel proper out of the file a boot loader wants.

QEMU can start an ELF kernel directly; unpacking it here takes less than a second, and inside an
emulated machine many.

Source: Documentation/arch/x86/boot.rst of the kernel, "The Real-Mode Kernel Header".
"""

from __future__ import annotations

import lzma
import struct
import subprocess
import zlib

from lab.cache import LabError

SETUP_SECTORS = 0x1F1
MAGIC = 0x202
PAYLOAD_OFFSET = 0x248
PAYLOAD_LENGTH = 0x24C


def extract(image: bytes) -> bytes:
    """The ELF file within a bzImage.

    Raises:
        LabError: it is no bzImage, or packed in a way that nobody here can unpack.
    """
    if image[MAGIC : MAGIC + 4] != b"HdrS":
        raise LabError("unpacking the kernel: it is no bzImage")
    start = ((image[SETUP_SECTORS] or 4) + 1) * 512
    start += struct.unpack_from("<I", image, PAYLOAD_OFFSET)[0]
    packed = image[start:][: struct.unpack_from("<I", image, PAYLOAD_LENGTH)[0]]
    unpacked = _unpack(packed)
    if not unpacked.startswith(b"\x7fELF"):
        raise LabError("unpacking the kernel: what came out is no ELF file")
    return unpacked


def _unpack(packed: bytes) -> bytes:
    if packed.startswith(b"\xfd7zXZ\0"):
        return lzma.LZMADecompressor().decompress(packed)
    if packed.startswith(b"\x1f\x8b"):
        return zlib.decompressobj(31).decompress(packed)
    if packed.startswith(b"\x28\xb5\x2f\xfd"):
        # The last four bytes are the size; zstd would call them garbage.
        words = ["zstd", "-dcq"]
        return subprocess.run(words, input=packed[:-4], capture_output=True, check=True).stdout
    raise LabError(f"unpacking the kernel: unknown packing {packed[:6].hex()}")
