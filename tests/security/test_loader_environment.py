"""Variables that steer loaders, interpreters and the C library, in the hands of an image.

The program's environment is the image's and belongs to its execve; nothing of the runtime may act
on it before, whether as init, as the process that joins, or when it looks for HOME.

Outcome on the peers: not comparable, they have no interpreter. CVE-2019-14271 (Docker's cp) is the
relative: NSS libraries of the image loaded by a process of the host.

Source: environ(7), ld.so(8), nss(5), locale(7).
"""

from __future__ import annotations

import pytest
from harness.box import Box
from harness.needs import needs
from harness.trapped import TrappedRoot

pytestmark = [needs("root"), needs("ours")]

STEERING = [
    "LD_PRELOAD=/usr/lib/libc.so.6",
    "LD_AUDIT=/usr/lib/libc.so.6",
    "LD_LIBRARY_PATH=/usr/lib",
    "PYTHONPATH=/usr/lib/python3.11",
    "PYTHONHOME=/usr",
    "PYTHONSTARTUP=/json.py",
    "GCONV_PATH=/usr/lib/gconv",
    "LOCPATH=/usr/lib/locale",
    "NLSPATH=/usr/share/locale",
    "LC_ALL=de_DE.ISO-8859-1",
    "LANG=C.UTF-8",
    "TZ=:/etc/localtime",
    "TZDIR=/usr/share/zoneinfo",
    "RES_OPTIONS=debug",
    "HOSTALIASES=/etc/host.conf",
    "GLIBC_TUNABLES=glibc.malloc.check=3",
    "MALLOC_CHECK_=3",
    "BASH_ENV=/etc/host.conf",
    "ENV=/etc/host.conf",
    "NOTIFY_SOCKET=/json.py",
    "LISTEN_FDS=9",
    "LISTEN_PID=1",
    "OCIRUN_SEAL=1",
]
PATH = "PATH=/bin"


@pytest.mark.parametrize("user", [0, 1000])
def test_init_acts_on_none(box: Box, user: int) -> None:
    bundle = box.bundle("/probe", user={"uid": user, "gid": user}, env=[PATH, *STEERING])
    with TrappedRoot(bundle) as traps:
        report = box.container(bundle).run().ok().json()
        assert traps.touched() == []
    assert set(report["env"]) >= set(STEERING)


def test_a_process_that_joins_acts_on_none(box: Box) -> None:
    bundle = box.bundle("/probe", "wait")
    with TrappedRoot(bundle) as traps:
        container = box.running(bundle)
        flags = [word for entry in STEERING for word in ("--env", entry)]
        report = container.exec("/probe", flags=tuple(flags)).ok().json()
        assert traps.touched() == []
        container.stop()
    assert set(report["env"]) >= set(STEERING)


def test_a_configuration_cannot_speak_to_the_launcher(box: Box) -> None:
    """The caller's own variables of that kind are dropped, and reach no hook either."""
    container = box.container(None, "true")
    seen = container.bundle.path / "seen"
    container.bundle.config["hooks"] = {
        "createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", f"/usr/bin/env > {seen}"]}]
    }
    steering = dict(entry.split("=", 1) for entry in STEERING if entry[:3] in ("LD_", "PYT"))
    container.run(env={"PATH": "/usr/bin:/bin", **steering}).ok()
    names = {line.partition("=")[0] for line in seen.read_text().splitlines()}
    assert names.isdisjoint(steering)
