"""A stand-in for CRIU that speaks its RPC as recorded: for what CRIU cannot be made to do.

It is put into $PATH as `criu`, answers each request as its plan says and writes down what it was
asked. It saves and restores nothing.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

Step = list[Any]

# What a request gets that the plan does not mention.
USUAL: dict[str, list[Step]] = {
    "VERSION": [["done", {"version": {"major_number": 3, "minor_number": 17, "sublevel": 1}}]],
    "FEATURE_CHECK": [["done", {"features": {"mem_track": True, "lazy_pages": True}}]],
    "DUMP": [["done", {}]],
    "PRE_DUMP": [["done", {}]],
}

PROGRAM = """
import json, os, signal, socket, struct, sys
from ocirun.criu.messages import NOTIFY, TYPE_NAMES, message, parse

assert sys.argv[1:] == ["swrk", "3"], sys.argv
here = os.path.dirname(os.path.abspath(__file__))
connection = socket.socket(fileno=3)
peer = struct.unpack("iII", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]

def note(**what):
    with open(f"{here}/asked", "a") as file:
        print(json.dumps(what), file=file)

def say(kind, success, fds=(), **fields):
    data = message("Response", type=kind, success=success, **fields).SerializeToString()
    socket.send_fds(connection, [data], list(fds))

request = parse("Request", connection.recv(1 << 16))
name = TYPE_NAMES[request.type]
fds = {int(fd): os.readlink(f"/proc/self/fd/{fd}") for fd in range(3, 8)
       if os.path.lexists(f"/proc/self/fd/{fd}")}
note(type=name, text=str(request), fds=fds, env=sorted(os.environ))
opts = request.opts
with open(f"{here}/plan") as file:
    steps = json.load(file)[name]
for act, *words in steps:
    if act == "done":
        say(request.type, True, **words[0])
    elif act == "fail":
        say(request.type, False, cr_errno=words[0], cr_errmsg=words[1])
    elif act == "notify":
        script, pid, *target = words
        opened = [os.open(path, os.O_RDONLY) for path in target]
        say(NOTIFY, True, opened, notify={"script": script, "pid": pid})
        heard = parse("Request", connection.recv(1 << 16))
        note(script=script, success=heard.notify_success)
        if not heard.notify_success:
            say(NOTIFY, False, cr_errno=0)
            break
    elif act == "log":
        path = f"/proc/{peer}/fd/{opts.work_dir_fd}/{os.fsdecode(opts.log_file)}"
        with open(path, "w") as file:
            file.write(words[0])
    elif act == "say":
        print(words[0], file=sys.stderr, flush=True)
    elif act == "freeze":
        folder = os.fsdecode(opts.freeze_cgroup)
        v2 = os.path.exists(f"{folder}/cgroup.freeze")
        with open(f"{folder}/" + ("cgroup.freeze" if v2 else "freezer.state"), "w") as file:
            file.write("1" if v2 else "FROZEN")
    elif act == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    elif act == "garbage":
        connection.send(bytes([255, 255, 255]))
    elif act == "answer":
        say(words[0], True)
"""


class FakeCriu:
    """A folder for $PATH with the stand-in; `plan` maps names of requests to its steps."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.folder.mkdir()
        self.program = folder / "criu"
        self.program.write_text(f"#!{sys.executable}\n{PROGRAM}")
        self.program.chmod(0o755)
        self.plan()

    def plan(self, **steps: list[Step]) -> None:
        """Answer the named requests by these steps from now on, all others as usual."""
        (self.folder / "plan").write_text(json.dumps(USUAL | steps))

    @property
    def asked(self) -> list[dict[str, Any]]:
        """What came in: a dict for each request, and for each answer to a notification."""
        file = self.folder / "asked"
        lines = file.read_text().splitlines() if file.exists() else []
        return [json.loads(line) for line in lines]

    @property
    def types(self) -> list[str]:
        """The requests that came, by name."""
        return [entry["type"] for entry in self.asked if "type" in entry]

    @property
    def answers(self) -> list[tuple[str, bool]]:
        """The notifications with what they were answered."""
        return [(e["script"], e["success"]) for e in self.asked if "script" in e]
