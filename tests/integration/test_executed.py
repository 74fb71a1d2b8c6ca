"""The library: `ocirun.Container` from a program with threads, whose init a helper clones.

Most of what such a container must do is tested with `each_way` in the chapters, and everything
with `--runtime=library`; here is what the public names promise.

Source: ARCHITECTURE.md#three-ways-to-create-init; docs/library.md.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from harness.box import Box
from harness.needs import needs

pytestmark = needs("ours")

PRELUDE = """
import json, os, sys, threading
import ocirun

stop = threading.Event()
threads = [threading.Thread(target=stop.wait) for _ in range(3)]
for thread in threads:
    thread.start()

def show(value):
    print(json.dumps(value), flush=True)

def main():
{body}

try:
    main()
finally:
    stop.set()
"""


def program(box: Box, body: str, *arguments: str | Path, **popen: Any) -> list[Any]:  # noqa: ANN401
    """Run `body` (lines of a function) in a program with threads; returns what it has shown."""
    lines = "\n".join(f"    {line}" for line in body.strip("\n").splitlines())
    script = box.folder / "program.py"
    script.write_text(PRELUDE.format(body=lines))
    out = box.folder / "program.out"
    with out.open("w") as stdout:
        subprocess.run(
            [sys.executable, "-I", script, box.runtime.root, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            timeout=60,
            check=True,
            **popen,
        )
    return [json.loads(line) for line in out.read_text().splitlines() if line[:1] in '{["']


def saved(box: Box, *args: str) -> tuple[str, Path]:
    container = box.container(box.bundle(*args))
    container.bundle.save()
    return container.id, container.bundle.path


def test_the_life_of_a_container(box: Box) -> None:
    name, bundle = saved(box, "/probe", "wait")
    shown = program(
        box,
        """
_, root, name, bundle = sys.argv
container = ocirun.Container.create(name, bundle, root=root)
show(container.state()["status"])
container.start()
show(container.state()["status"])
container.kill("KILL")
os.waitpid(container.state()["pid"] or -1, 0)
show(container.state()["status"])
container.delete()
try:
    container.state()
except ocirun.ContainerNotFound as error:
    show(str(error))
""",
        name,
        bundle,
    )
    assert shown == ["created", "running", "stopped", "container does not exist"]


def test_what_goes_wrong_has_a_class(box: Box) -> None:
    name, bundle = saved(box, "/no/such/program")
    shown = program(
        box,
        """
_, root, name, bundle = sys.argv
for act in (
    lambda: ocirun.Container.create(name, bundle, root=root),
    lambda: ocirun.Container.create(name, bundle + "/nowhere", root=root),
    lambda: ocirun.Container(name, root=root).start(),
):
    try:
        act()
    except ocirun.OcirunError as error:
        show([type(error).__name__, str(error)])
""",
        name,
        bundle,
    )
    assert [name for name, _ in shown] == ["InitError", "SetupError", "ContainerNotFound"]
    assert "/no/such/program" in shown[0][1]


def test_several_threads_at_once(box: Box) -> None:
    """Each of eight threads makes, runs and deletes containers of its own."""
    name, bundle = saved(box, "/probe", "wait")
    shown = program(
        box,
        """
_, root, name, bundle = sys.argv
failures = []

def live(number):
    try:
        for turn in range(3):
            container = ocirun.Container.run(f"{name}-{number}-{turn}", bundle, root=root)
            pid = container.state()["pid"]
            container.kill("KILL")
            os.waitpid(pid, 0)
            container.delete()
    except BaseException as error:
        failures.append(f"{type(error).__name__}: {error}")

makers = [threading.Thread(target=live, args=(number,)) for number in range(8)]
for maker in makers:
    maker.start()
for maker in makers:
    maker.join()
show(failures)
""",
        name,
        bundle,
    )
    assert shown == [[]]


@pytest.mark.parametrize("args", [("/probe",), ("/no/such/program",)], ids=["made", "failed"])
def test_the_program_keeps_its_own_things(box: Box, args: tuple[str, ...]) -> None:
    """Working directory, umask, descriptors and threads are as they were."""
    name, bundle = saved(box, *args)
    shown = program(
        box,
        """
from ocirun.process import helper
_, root, name, bundle = sys.argv
def own():
    mask = os.umask(0o77)
    os.umask(mask)
    return [os.getcwd(), mask, sorted(os.listdir("/proc/self/fd")), os.listdir("/proc/self/task")]
before = own()
try:
    ocirun.Container.create(name, bundle, root=root)
except ocirun.OcirunError:
    pass
try:
    ocirun.Container(name, root=root).delete(force=True)
finally:
    helper.close()
    after = own()
show([a == b for a, b in zip(before, after)])
""",
        name,
        bundle,
        cwd=box.folder,
    )
    assert shown == [[True] * 4]


def test_what_the_program_ignores_is_not_ignored_inside(box: Box) -> None:
    """SIGCHLD least of all: init waits for its hooks."""
    container = box.container(box.bundle("grep", "SigIgn", "/proc/self/status"))
    container.bundle.config["hooks"] = {"createContainer": [{"path": "/bin/true"}]}
    container.bundle.save()
    program(
        box,
        """
_, root, name, bundle = sys.argv
import signal
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
signal.signal(signal.SIGUSR1, signal.SIG_IGN)
ocirun.Container.run(name, bundle, root=root)
""",
        container.id,
        container.bundle.path,
    )
    container.wait_status("stopped")
    assert "SigIgn:\t0000000000000000" in (box.folder / "program.out").read_text()


def test_descriptors_to_preserve(box: Box) -> None:
    name, bundle = saved(box, "sh", "-c", "cat <&3; cat <&4; ls /proc/self/fd | wc -l")
    (box.folder / "a").write_text("first\n")
    (box.folder / "b").write_text("second\n")
    program(
        box,
        """
_, root, name, bundle, a, b = sys.argv
for path, fd in ((a, 3), (b, 4)):
    opened = os.open(path, os.O_RDONLY)
    if opened != fd:
        os.dup2(opened, fd)
        os.close(opened)
ocirun.Container.create(name, bundle, root=root, preserve_fds=2).start()
""",
        name,
        bundle,
        box.folder / "a",
        box.folder / "b",
    )
    box.containers[-1].wait_status("stopped")
    assert (box.folder / "program.out").read_text().split() == ["first", "second", "6"]


@pytest.mark.parametrize("variable", ["LD_PRELOAD", "PYTHONPATH", "PYTHONHOME"])
def test_variables_of_the_program_do_not_steer_init(box: Box, variable: str) -> None:
    name, bundle = saved(box, "/probe", "wait")
    trap = box.folder / "trap"
    (trap / "os").mkdir(parents=True)
    (trap / "os/__init__.py").write_text(f"open({str(box.folder / 'sprung')!r}, 'w')")
    program(
        box,
        """
_, root, name, bundle, variable, value = sys.argv
os.environ[variable] = value
ocirun.Container.run(name, bundle, root=root)
""",
        name,
        bundle,
        variable,
        trap,
    )
    assert not (box.folder / "sprung").exists()
    assert box.containers[-1].status == "running"


def test_init_by_hand_is_refused(box: Box) -> None:
    box.runtime.call("init").failed("by hand")
    ours, theirs = os.pipe()
    box.runtime.call("init", pass_fds=(ours,)).failed("by hand")
    os.close(ours)
    os.close(theirs)
