"""The library instead of the command: the same verbs, from a Python program with threads.

Such a program may not fork, so its containers get an executed init (`ocirun init`). With
`--runtime=library` the whole suite runs that way.
"""

from __future__ import annotations

import sys
from pathlib import Path

PROGRAM = """#!{python} -I
import signal, sys, threading, time

def be_busy():
    while True:  # takes and gives back the locks that a fork would find taken
        threading.Event()
        bytearray(1 << 16)
        time.sleep(0.0005)

signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
for _ in range(3):
    threading.Thread(target=be_busy, daemon=True).start()
signal.pthread_sigmask(signal.SIG_SETMASK, ())

from ocirun.container import options
from ocirun.process.command import find_command

for kind in (options.CreateOptions, options.ExecOptions):
    kind.__init__.__kwdefaults__["command"] = find_command()

from ocirun.cli.launcher import main

sys.argv[0] = "ocirun"
main()
"""


def write_library_command(folder: Path) -> Path:
    """Write a program that reads the command's arguments and lets the library do what they say."""
    script = folder / "ocirun-library"
    script.write_text(PROGRAM.format(python=sys.executable))
    script.chmod(0o755)
    return script
