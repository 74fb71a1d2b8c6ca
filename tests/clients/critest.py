"""cri-tools' validation suite: the images that it asks for, and what it reports.

The images have the names of its own and what its cases look at; each is a busybox.

Source: kubernetes-sigs/cri-tools pkg/validate/consts.go, pkg/framework/util.go.
"""

from __future__ import annotations

import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import NamedTuple

from harness import machine

from clients import images
from clients.images import Image

USERS = """\
root:x:0:0::/root:/bin/sh
default-user:x:1000:1000::/:/bin/sh
www-data:x:33:33::/:/bin/sh
nobody:x:65534:65534::/:/bin/sh
"""
GROUPS = """\
root:x:0:
default-user:x:1000:
group-defined-in-image:x:50000:default-user
www-data:x:33:
nobody:x:65534:
"""
SCRIPTS = {
    # Not the pod's first process and its child, which sleeps as well.
    "bin/pgrep": 'ps | grep "$1" | grep -v -e grep -e "sh -c" -e "sleep 100000"',
    "bin/ipcs": "awk 'NR > 1 { print $2 }' /proc/sysvipc/shm",
    # What is asked of a web server: its name, also among the arguments, and its pid in a file.
    "bin/nginx": """\
echo $$ >/var/run/nginx.pid
trap 'kill $server; exit 0' TERM QUIT
httpd -f -p "$2" -h /www & server=$!
echo httpd
wait
""",
}
EFFECTIVE_UID = """\
#include <stdio.h>
#include <unistd.h>
int main(void) { return printf("Effective uid: %d\\n", geteuid()) < 0; }
"""
# Cases that cannot pass here, by a part of their names.
KNOWN = {
    "public image with digest": "the digest is that of an image of cri-tools' own",
    "should support MaskedPaths": "Debian's busybox runs its own ls, whatever lies at /bin/ls",
}
SERVE = ("/bin/nginx", "nginx: master process")
COMMANDS = {
    "nginx": (*SERVE, "80"),
    "httpd": (*SERVE, "80"),
    "hostnet-nginx-amd64": (*SERVE, "12003"),
    "hostnet-nginx-arm64": (*SERVE, "12003"),
    "nonewprivs": ("/effective-uid",),
    "pause": images.PAUSE,
}
USER_OF = {
    "test-image-user-uid": "1002",
    "test-image-user-username": "www-data",
    "test-image-user-uid-group": "1003:1004",
    "test-image-user-username-group": "www-data:1004",
    "test-image-predefined-group": "1000",
}


class Images:
    """The images by the last word of their names; the tree is made when the first is asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._layer = b""

    def __call__(self, repository: str) -> Image:
        name = repository.rpartition("/")[2]
        if not self._layer:
            self._layer = images.layer_of(_write_tree(self._folder))
        # The label makes two names two images.
        return images.make(
            self._layer,
            COMMANDS.get(name, ("sh",)),
            User=USER_OF.get(name, ""),
            Labels={"name": name},
        )


def _write_tree(folder: Path) -> Path:
    images.write_tree(folder)
    busybox = folder / "bin/busybox"
    applets = subprocess.run([busybox, "--list"], check=True, capture_output=True)
    for name in {*applets.stdout.decode().split()} - {"busybox"}:
        (folder / "bin" / name).unlink(missing_ok=True)
        (folder / "bin" / name).hardlink_to(busybox)  # a case masks one of them
    (folder / "etc/passwd").write_text(USERS)
    (folder / "etc/group").write_text(GROUPS)
    (folder / "var/run").mkdir()
    (folder / "www").mkdir()
    (folder / "www/index.html").write_text("hello\n")
    for path, script in SCRIPTS.items():
        (folder / path).write_text(f"#!/bin/sh\n{script}")
        (folder / path).chmod(0o755)
    program = folder / "effective-uid"
    machine.compile_text(EFFECTIVE_UID, program)
    program.chmod(0o4755)
    return folder


class Report(NamedTuple):
    """How many cases passed and were skipped, and the failed ones with the first line of why.

    `failed` is without those of KNOWN.
    """

    passed: int
    skipped: int
    failed: dict[str, str]


def run(program: str, socket: str, handler: str, folder: Path) -> Report:
    """Run the suite on one handler; its output goes to `folder`."""
    words = (
        *(program, "--runtime-endpoint", socket, "--runtime-handler", handler),
        *(f"--ginkgo.junit-report={folder}/junit.xml", "--ginkgo.no-color"),
    )
    with (folder / "output").open("wb") as output:
        subprocess.run(words, check=False, timeout=1800, stdout=output, stderr=output, cwd=folder)
    return _read_report(folder)


def _read_report(folder: Path) -> Report:
    passed, skipped, failed = 0, 0, {}
    for path in folder.glob("junit*.xml"):
        for case in ET.parse(path).getroot().iter("testcase"):
            name = case.get("name", "")
            failure = next((end for end in case if end.tag in {"failure", "error"}), None)
            if not name.startswith("[It]"):  # the suite's own preparations
                continue
            if case.find("skipped") is not None:
                skipped += 1
            elif failure is not None and not any(known in name for known in KNOWN):
                failed[name] = failure.get("message", "").partition("\n")[0]
            elif failure is None:
                passed += 1
    return Report(passed, skipped, failed)
