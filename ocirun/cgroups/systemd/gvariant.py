"""Values of unit properties as people write them: GVariant text.

    true   'text'   "text"   ['a', 'b']   @as []   5   uint64 5   @t 5   byte 0x1f   2.5

Only what a property of a scope or of a slice can be: booleans, strings, lists of strings and
numbers. Everything else is refused, with the place where reading stopped.

Source: docs.gtk.org/glib/gvariant-text-format.html;
dbus.freedesktop.org/doc/dbus-specification.html#type-system.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    # a D-Bus signature and the value; a `d` keeps the text of its number
    Typed = tuple[str, object]

TYPE_WORDS: Final = {
    "boolean": "b",
    "byte": "y",
    "int16": "n",
    "uint16": "q",
    "int32": "i",
    "uint32": "u",
    "int64": "x",
    "uint64": "t",
    "double": "d",
}
RANGES: Final = {
    "y": (0, 2**8 - 1),
    "n": (-(2**15), 2**15 - 1),
    "q": (0, 2**16 - 1),
    "i": (-(2**31), 2**31 - 1),
    "u": (0, 2**32 - 1),
    "x": (-(2**63), 2**63 - 1),
    "t": (0, 2**64 - 1),
}
USUAL_NUMBER: Final = "i"  # what a bare number is
SIGNATURES: Final = {"b", "s", "as", "d", *RANGES}
ESCAPES: Final = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
CODES: Final = {"u": 4, "U": 8}
BLANKS: Final = " \t\r\n"
MOST_LETTERS: Final = 65536
MOST_DIGITS: Final = 64


def parse_text(text: str) -> Typed:
    """Read one value; return its D-Bus signature and the value.

    Raises:
        ValueError: the text is malformed; the message says where.
    """
    if len(text) > MOST_LETTERS:
        raise ValueError(f"longer than {MOST_LETTERS} letters")
    reader = _Reader(text)
    value = reader.typed()
    reader.skip_blanks()
    if reader.at < len(text):
        raise reader.wrong("the end")
    return value


class _Reader:
    """One text and how far it has been read."""

    __slots__ = ("at", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def wrong(self, expected: str) -> ValueError:
        return ValueError(f"expected {expected} at letter {self.at + 1} of {self.text!r}")

    def peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def skip_blanks(self) -> None:
        while self.at < len(self.text) and self.text[self.at] in BLANKS:
            self.at += 1

    def word(self) -> str:
        """Return what stands up to the next blank, quote or bracket, and move past it."""
        start = self.at
        while self.at < len(self.text) and self.text[self.at] not in BLANKS + "'\"[],":
            self.at += 1
        return self.text[start : self.at]

    def typed(self) -> Typed:
        self.skip_blanks()
        start = self.at
        if self.peek() and self.peek() in "'\"[":
            return self.value("")
        word = self.word()
        signature = word[1:] if word.startswith("@") else TYPE_WORDS.get(word, "")
        if not signature:
            self.at = start
            return self.value("")
        if signature not in SIGNATURES:
            self.at = start
            raise self.wrong(f"a type (one of {', '.join(sorted(SIGNATURES))})")
        self.skip_blanks()
        return self.value(signature)

    def value(self, signature: str) -> Typed:
        """Read a value that was said to be of `signature`; "" leaves that to the value."""
        first = self.peek()
        if first and first in "'\"":
            return self._as(signature, "s"), self.string()
        if first == "[":
            return self._list(signature)
        start = self.at
        word = self.word()
        if word in ("true", "false"):
            return self._as(signature, "b"), word == "true"
        self.at = start
        return self._number(signature)

    def _as(self, wanted: str, found: str) -> str:
        if wanted not in ("", found):
            raise self.wrong(f"a value of type {wanted}")
        return found

    def _list(self, signature: str) -> Typed:
        if signature not in ("", "as"):
            raise self.wrong(f"a value of type {signature}")
        self.at += 1
        found: list[str] = []
        self.skip_blanks()
        while self.peek() != "]":
            if found:
                self._take(",")
            if self.peek() not in ("'", '"'):
                raise self.wrong("a string")
            found.append(self.string())
            self.skip_blanks()
        self.at += 1
        if not found and not signature:
            raise ValueError("an empty list does not say its type (write @as [])")
        return "as", found

    def _take(self, letter: str) -> None:
        if self.peek() != letter:
            raise self.wrong(repr(letter))
        self.at += 1
        self.skip_blanks()

    def string(self) -> str:
        """Read a quoted string.

        Security: D-Bus has UTF-8 without NUL; a lone surrogate is a byte that was none.
        """
        quote = self.text[self.at]
        start = self.at
        self.at += 1
        letters: list[str] = []
        while (letter := self.peek()) != quote:
            if not letter:
                self.at = start
                raise self.wrong("a string that ends")
            self.at += 1
            letters.append(self._escaped() if letter == "\\" else letter)
            if letters[-1] == "\0" or "\ud800" <= letters[-1] <= "\udfff":
                self.at -= 1
                raise self.wrong("a letter of UTF-8 other than NUL")
        self.at += 1
        return "".join(letters)

    def _escaped(self) -> str:
        letter = self.peek()
        if not letter:
            raise self.wrong("a letter after the backslash")
        self.at += 1
        if letter not in CODES:
            return ESCAPES.get(letter, letter)
        digits = self.text[self.at : self.at + CODES[letter]]
        if len(digits) < CODES[letter] or not _are_digits(digits, 16):
            raise self.wrong(f"{CODES[letter]} hexadecimal digits")
        if int(digits, 16) > 0x10FFFF:
            raise self.wrong("a letter of Unicode")
        self.at += len(digits)
        return chr(int(digits, 16))

    def _number(self, signature: str) -> Typed:
        start = self.at
        word = self.word()
        number = _integer(word)
        if number is None or signature == "d":
            if signature in ("", "d") and (_is_decimal(word) or number is not None):
                return "d", word if number is None else str(number)
            self.at = start
            kind = f"a value of type {signature}" if signature else "a value"
            raise self.wrong(kind)
        signature = signature or USUAL_NUMBER
        if signature not in RANGES:
            self.at = start
            raise self.wrong(f"a value of type {signature}")
        least, most = RANGES[signature]
        if not least <= number <= most:
            raise ValueError(f"{word} is not between {least} and {most} (type {signature})")
        return signature, number


def _are_digits(text: str, base: int) -> bool:
    return bool(text) and set(text.lower()) <= set("0123456789abcdef"[:base])


def _integer(word: str) -> int | None:
    """Read an integer as C writes it: decimal, 0x…, or octal with a leading 0."""
    digits = word.removeprefix("-") if word.startswith("-") else word.removeprefix("+")
    base = 10
    if digits[:2].lower() == "0x":
        base, digits = 16, digits[2:]
    elif len(digits) > 1 and digits[0] == "0":
        base = 8
    if not _are_digits(digits, base) or len(digits) > MOST_DIGITS:
        return None
    return int(digits, base) * (-1 if word.startswith("-") else 1)


def _is_decimal(word: str) -> bool:
    whole, point, part = word.removeprefix("-").partition(".")
    has_both = bool(point) and _are_digits(whole, 10) and _are_digits(part, 10)
    return has_both and len(word) <= MOST_DIGITS
