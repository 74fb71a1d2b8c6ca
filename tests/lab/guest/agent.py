#!/usr/bin/python3
"""Do what the lab's host says: one command, whose outputs and exit status go back.

When the machine is up, say so (the host then takes its snapshot). Afterwards one line of JSON
comes; session.py has its fields. What goes back are frames: a letter (R ready, O standard output,
E standard error, L a message of this program, X exit status), four bytes of length, bytes.
"""

from __future__ import annotations

import json
import os
import select
import struct
import subprocess
import time
from pathlib import Path
from typing import Any

PORT = "/dev/virtio-ports/agent"
PAYLOAD = "/dev/vdc"
AFTERWARDS_S = 0.5  # a container that stays may hold on to the outputs for ever
FOR_SYSTEMD = ("INVOCATION_ID", "JOURNAL_STREAM", "NOTIFY_SOCKET", "SYSTEMD_EXEC_PID")


def main() -> None:
    port = os.open(PORT, os.O_RDWR)
    settled = ["systemctl", "is-system-running", "--wait"]
    state = subprocess.run(settled, stdout=subprocess.PIPE, text=True, check=False).stdout.strip()
    os.sync()
    send(port, b"R", json.dumps({"state": state, "kernel": os.uname().release}).encode())
    request = json.loads(read_line(port))
    try:
        prepare(request)
        status = run(port, request)
    except Exception as error:  # noqa: BLE001  # whatever it is, the host is to hear of it
        send(port, b"L", f"agent: {error!r}\n".encode())
        status = 250
    os.sync()
    send(port, b"X", struct.pack(">I", status))
    time.sleep(0.2)
    Path("/proc/sysrq-trigger").write_text("o")


def send(port: int, kind: bytes, data: bytes) -> None:
    frame = kind + struct.pack(">I", len(data)) + data
    while frame:
        frame = frame[os.write(port, frame) :]


def read_line(port: int) -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        more = os.read(port, 65536)
        if not more:  # nobody is at the other end: between the snapshot and the restored machine
            time.sleep(0.02)
        line += more
    return line


def prepare(request: dict[str, Any]) -> None:
    """What differs from run to run: the time, some entropy, the disks and folders of the host."""
    time.clock_settime(time.CLOCK_REALTIME, request["time"])
    Path("/dev/urandom").write_bytes(bytes.fromhex(request["seed"]))
    shared = "trans=virtio,version=9p2000.L,msize=512000"
    mount("-t", "9p", "-o", f"{shared},ro,cache=loose", "host", "/host")
    mount("-t", "9p", "-o", f"{shared},rw,cache=none", "out", "/out")
    mount("-t", "ext4", "-o", "ro", PAYLOAD, "/opt/lab")
    cover(Path("/opt/lab"))
    if before := request["before"]:
        subprocess.run(before, stdout=subprocess.DEVNULL, check=True)


def cover(folder: Path) -> None:
    """Make `folder` writable for this run: the disk below belongs to other runs, too."""
    scratch = Path("/run/lab")
    for name in ("new", "work"):
        (scratch / name).mkdir(parents=True)
    layers = f"lowerdir={folder},upperdir={scratch}/new,workdir={scratch}/work"
    mount("-t", "overlay", "-o", layers, "lab", str(folder))


def mount(*words: str) -> None:
    subprocess.run(["mount", *words], check=True)


def run(port: int, request: dict[str, Any]) -> int:
    """Run the command, as root or below the user's own systemd; its status as a shell has it."""
    environment = {name: value for name, value in os.environ.items() if name not in FOR_SYSTEMD}
    environment |= {"HOME": "/root", "USER": "root", "LANG": "C.UTF-8", "TERM": "dumb"}
    environment |= request["env"]
    words = request["command"]
    if user := request["user"]:
        manager = ["systemd-run", "--quiet", "--user", "--machine", f"{user}@.host", "--pipe"]
        manager += ["--wait", "--property=Delegate=yes", f"--working-directory={request['folder']}"]
        words = manager + [f"--setenv={n}={v}" for n, v in request["env"].items()] + words
    process = subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        cwd=request["folder"],
        start_new_session=True,
    )
    forward(port, process)
    status = process.wait()
    return status if status >= 0 else 128 - status


def forward(port: int, process: subprocess.Popen[bytes]) -> None:
    """Send what the process prints until it has ended and is silent."""
    pipes = ((process.stdout, b"O"), (process.stderr, b"E"))
    kinds = {pipe.fileno(): kind for pipe, kind in pipes if pipe is not None}
    ended_at: float | None = None
    while kinds:
        readable, _, _ = select.select(list(kinds), [], [], 0.1)
        for fd in readable:
            if data := os.read(fd, 65536):
                send(port, kinds[fd], data)
            else:
                del kinds[fd]
        if process.poll() is not None:
            ended_at = ended_at or time.monotonic()
            if not readable and time.monotonic() - ended_at > AFTERWARDS_S:
                return


if __name__ == "__main__":
    main()
