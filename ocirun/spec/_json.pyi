"""The compiled module as the type checker sees it: `_build/json.c`."""

def parse(data: bytes, errors: str, /) -> object:
    """Return the value of one JSON document, bytes of UTF-8; `errors` is that of bytes.decode.

    Raises:
        ValueError: it is not one; the exception gives no reason.
    """

def compact(value: object, /) -> str:
    """Return `value` as JSON without spaces.

    Raises:
        TypeError: JSON has nothing for it.
        ValueError: it holds an infinity or NaN.
    """
