"""`ocirun ps`: the processes of a container, as pids or as the host's ps shows them."""

from __future__ import annotations

import os
from errno import ENOENT

from ocirun.cli.output import write
from ocirun.container.pause import processes
from ocirun.errors import SetupError, UsageError, kernel_words
from ocirun.kernel.process import without_clone3
from ocirun.kernel.which import find_in_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirun.cli.call import Call


def run(call: Call) -> int:
    """Print a JSON array of host pids, or the rows of `ps` that are the container's."""
    form = call.text("format")
    pids = processes(call.store(), call.arguments[0])
    if form == "json":
        # runc: null where there are none, as in list.
        write(f"[{','.join(map(str, pids))}]\n" if pids else "null\n")
    elif form == "table":
        # containerd gives all options as one word with blanks in it.
        options = [word for words in call.arguments[1:] for word in words.split()] or ["-ef"]
        write(rows_of(_ps(options), {str(pid) for pid in pids}))
    else:
        raise UsageError("invalid format option")
    return 0


def _ps(options: list[str]) -> str:
    import subprocess  # cold: a person looks

    program = find_in_path("ps")
    if program is None:
        raise SetupError('exec: "ps": executable file not found in $PATH', ENOENT)
    try:
        done = without_clone3(
            lambda: subprocess.run([program, *options], capture_output=True, check=False)  # noqa: S603
        )
    except OSError as error:
        raise SetupError(f"running ps: {kernel_words(error)}", error.errno or 0) from error
    if done.returncode:
        raise SetupError(f"ps {' '.join(options)}: {os.fsdecode(done.stderr).strip()}")
    return os.fsdecode(done.stdout)


def rows_of(text: str, pids: set[str]) -> str:
    """Keep the header and the rows whose PID is in `pids`.

    Raises:
        SetupError: the header names no PID.
    """
    # Not splitlines: a process may have a form feed in its name.
    header, *rows = text.rstrip("\n").split("\n")
    titles = header.split()
    if "PID" not in titles:
        raise SetupError("couldn't find PID field in ps output")
    column = titles.index("PID")
    kept = [row for row in rows if len(row.split()) > column and row.split()[column] in pids]
    return "\n".join([header, *kept]) + "\n"
