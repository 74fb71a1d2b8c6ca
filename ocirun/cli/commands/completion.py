"""`ocirun completion SHELL`: the script that teaches a shell our verbs and options."""

from __future__ import annotations

import os

from ocirun.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirun.cli.call import Call

SHELLS = ("bash", "zsh", "fish")


def run(call: Call) -> int:
    """Print the script; `eval "$(ocirun completion bash)"` loads it."""
    shell = call.words[0]
    if shell not in SHELLS:
        raise UsageError(f"no completion for {shell!r}, only for {', '.join(SHELLS)}")
    from ocirun.cli.app import read

    os.environ["_OCIRUN_COMPLETE"] = f"source_{shell}"  # click's way of being asked
    read([])
    return 0
