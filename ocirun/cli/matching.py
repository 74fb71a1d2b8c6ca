"""crun's --regex: one verb, every container whose id matches."""

from __future__ import annotations

from ocirun.errors import OcirunError, UsageError, warn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ocirun.cli.call import Call
    from ocirun.container.store import Store


def for_each(call: Call, store: Store, act: Callable[[str], None]) -> int:
    """Call `act` with every id of `store` that the call's first word matches somewhere.

    One that fails does not keep the others from their turn.

    Raises:
        UsageError: the word is not a regular expression.
        OcirunError: the last container's failure; the earlier ones are logged as warnings.
    """
    import re  # cold: only with --regex

    try:
        pattern = re.compile(call.arguments[0])
    except re.error as error:
        raise UsageError(f"invalid regular expression {call.arguments[0]!r}: {error}") from error
    failed: OcirunError | None = None
    for name in store.ids():
        if not pattern.search(name):
            continue
        try:
            act(name)
        except OcirunError as error:
            if failed is not None:
                warn(str(failed))
            failed = error
    if failed is not None:
        raise failed
    return 0
