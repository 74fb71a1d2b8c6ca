"""What a log line looks like: logrus's text, or one JSON object.

Source: logrus text_formatter.go; pkg.go.dev/strconv#Quote.
"""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Final


def now() -> str:
    """Return the time as RFC 3339 in UTC, with microseconds."""
    seconds, rest = divmod(time.time_ns(), 1_000_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{rest // 1000:06d}Z"


def text_line(level: str, message: str) -> str:
    """Return a line as logrus's text formatter writes it."""
    return f'time="{now()}" level={level} msg={quote(message)}\n'


def json_line(level: str, message: str, warnings: Sequence[str] = ()) -> str:
    """Return one JSON object with the keys callers read: level, msg, time.

    `warnings` become a member of their own, which those callers skip.
    """
    from ocirun.spec.jsontext import compact

    line: dict[str, object] = {"level": level, "msg": message, "time": now()}
    if warnings:
        line["warnings"] = list(warnings)
    return compact(line) + "\n"


_PLAIN: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._/@^+")
_ESCAPES: Final = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def quote(message: str) -> str:
    """Quote as Go's %q does, unless logrus would leave the word bare."""
    if _PLAIN.issuperset(message):
        return message
    return '"' + "".join(_quoted(char) for char in message) + '"'


def _quoted(char: str) -> str:
    if char in _ESCAPES:
        return _ESCAPES[char]
    if char.isprintable():
        return char
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that was not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return (
        f"\\x{code:02x}"
        if code < 0x80
        else f"\\u{code:04x}"
        if code < 0x10000
        else f"\\U{code:08x}"
    )


def visible(message: str) -> str:
    """Return `message` for a terminal, with nothing in it that a terminal obeys.

    Security: names that a container or an image has chosen may stand in it.
    """
    kept = "\n\t"
    return "".join(
        char if char in kept or char.isprintable() else _quoted(char) for char in message
    )


def to_bytes(text: str) -> bytes:
    """Return `text` as the bytes it came from.

    Inside a JSON line a byte that was not UTF-8 becomes the escape of its surrogate, so that the
    line stays JSON.
    """
    return text.encode("utf-8", "backslashreplace")
