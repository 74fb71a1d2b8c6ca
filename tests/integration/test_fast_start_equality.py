"""What a program can see of itself is the same after both starts."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from harness.fast_start import FastInstall
from harness.machine import REPO
from harness.needs import needs

pytestmark = needs("ours")

STUB = (REPO / "tests" / "data" / "start_report.py").read_text()


@pytest.fixture(scope="module")
def install(tmp_path_factory: pytest.TempPathFactory) -> FastInstall:
    return FastInstall(tmp_path_factory.mktemp("equality") / "prefix", STUB)


def both(install: FastInstall, *words: str, **keys: Any) -> dict[str, Any]:  # noqa: ANN401
    """Run both launchers the same way; what they see must be equal. Return what they saw."""
    fast = install.report(*words, **keys)
    cold = install.report(*words, program=install.cold, **keys)
    assert (fast["unlike"]["start"], cold["unlike"]["start"]) == ("fast", "cold")
    # The kernel would copy a page of the image for each. One or two may have been freed since.
    assert fast["unlike"]["new in the image"] < 5
    assert fast["same"] == cold["same"]
    same: dict[str, Any] = fast["same"]
    return same


def test_with_ordinary_words(install: FastInstall) -> None:
    report = both(install, "state", "x")
    assert report["argv"] == [["state", "x"]] * 2
    assert report["idents"]
    assert report["native ids"]
    assert report["fork"] == [["before", "parent"], 7]


def test_in_an_empty_environment(install: FastInstall) -> None:
    assert both(install, env={})["environ"] == {}


def test_modules_that_python_starts_with_are_in_the_heap(install: FastInstall) -> None:
    """Where the snapshot places them (library.py); CPython 3.11 has them as initialised data."""
    assert install.report()["unlike"]["in heap"] == [True, True]


def test_functions_of_the_c_library_are_not_looked_up(install: FastInstall) -> None:
    """Their addresses follow from the image (thaw.c); of a few there are several to choose from."""
    assert install.report()["unlike"]["known calls"] > 0.8


def test_with_words_that_are_not_utf8(install: FastInstall) -> None:
    environment = {os.fsdecode(b"n\xe9\xff"): os.fsdecode(b"caf\xe9"), "EMPTY": "", "A": "=b=c"}
    report = both(install, os.fsdecode(b"caf\xe9-\xff"), "é", env=environment)
    assert report["environ"] == environment
    assert report["argv"][0] == [os.fsdecode(b"caf\xe9-\xff"), "é"]


@pytest.mark.parametrize("zone", ["Asia/Kolkata", "UTC", "EST5EDT", "nonsense"])
def test_in_a_time_zone(install: FastInstall, zone: str) -> None:
    both(install, env={"TZ": zone})


@pytest.mark.parametrize("locale", ["C", "C.UTF-8", "de_DE.ISO-8859-1", "ja_JP.eucJP"])
def test_in_a_locale(install: FastInstall, locale: str) -> None:
    both(install, env={"LC_ALL": locale, "LANG": locale})


def test_with_ignored_and_blocked_signals(install: FastInstall) -> None:
    def quiet() -> None:
        for number in (signal.SIGPIPE, signal.SIGHUP, signal.SIGINT, signal.SIGRTMIN + 3):
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})

    report = both(install, preexec_fn=quiet)
    assert report["handlers"][str(int(signal.SIGHUP))] == "1"


@pytest.mark.parametrize("closed", ["0<&-", "0<&- 2>&-"])
def test_with_closed_streams(install: FastInstall, closed: str) -> None:
    seen = []
    for program in (install.program, install.cold):
        done = install.call("-c", f'exec {program} "$@" {closed}', "sh", "x", program="sh")
        report = json.loads(done.stdout)["same"]
        seen.append((report["streams"], report["fds"]))
    assert seen[0] == seen[1]


def test_on_a_terminal(install: FastInstall) -> None:
    seen = []
    for program in (install.program, install.cold):
        master, slave = pty.openpty()
        done = subprocess.run(
            [program, "x"], stdin=slave, stdout=subprocess.PIPE, stderr=slave, text=True, check=True
        )
        os.close(slave)
        os.close(master)
        seen.append(json.loads(done.stdout)["same"]["streams"])
    assert seen[0] == seen[1]
    assert seen[0][0]["file"] == [0, True]


def test_libm_is_not_loaded_late_where_that_is_forbidden(install: FastInstall) -> None:
    done = install.call("forbid-libm")
    assert (done.returncode, done.stdout) == (1, "1")
    assert "the function sin cannot be loaded: this process enters a container" in done.stderr


def test_secrets_are_not_those_of_the_image(install: FastInstall, tmp_path: Path) -> None:
    runs = [install.report()["unlike"] for _ in range(3)]
    assert len({run["random"] for run in runs}) == 3
    assert len({run["urandom"] for run in runs}) == 3
    # Hashes are: they are baked into every dictionary. But not into those of another image.
    other = FastInstall(tmp_path / "prefix", STUB)
    assert len({run["hash"] for run in runs}) == 1
    assert other.report()["unlike"]["hash"] != runs[0]["hash"]
    install.snapshot()
    assert install.report()["unlike"]["hash"] != runs[0]["hash"]


def test_a_pointer_that_only_one_process_has_fails_the_dump(tmp_path: Path) -> None:
    """`resource` is a shared object, which lies at another address in each process."""
    install = FastInstall(tmp_path / "prefix", STUB)
    before = install.image.stat().st_ino
    with (install.packages / "ocirun" / "cli" / "warmup.py").open("a") as file:
        file.write(
            "\n_clean = warm_up\n\ndef warm_up(frozen):\n    _clean(frozen)\n    import resource\n"
        )
    done = install.call("snapshot")
    assert done.returncode == 1
    assert "points into resource." in done.stderr
    assert install.image.stat().st_ino == before
    assert {path.name for path in install.image.parent.iterdir()} == {"snapshot"}


def test_what_was_freed_before_the_dump_is_not_in_the_image(tmp_path: Path) -> None:
    install = FastInstall(tmp_path / "prefix", STUB)
    canary = b"canary-that-has-left"
    with (install.packages / "ocirun" / "cli" / "warmup.py").open("a") as file:
        file.write(
            "\n_clean = warm_up\n\ndef warm_up(frozen):\n    _clean(frozen)\n"
            f"    canary = bytes(reversed({canary[::-1]!r}))\n"
            "    held = [canary * count for count in (1, 10, 1000)]\n"
        )
    install.snapshot()
    assert canary not in install.image.read_bytes()


def test_warming_up_asks_nothing_of_the_host(install: FastInstall) -> None:
    """What is asked when the image is made would be believed on another day."""
    package = install.packages / "ocirun"
    program = (
        "import builtins, sys\n"
        "from types import SimpleNamespace\n"
        f"sys.path.append({str(install.packages)!r})\n"
        "import ocirun.kernel._native as native, ocirun.spec._json as json\n"
        "sys.modules['_ocirun_calls'] = SimpleNamespace(get_errno=int)\n"
        "sys.modules['_ocirun_json'] = json\n"
        "names = " + repr(_modules_below(package)) + "\n"
        "seen = []\n"
        "asking = ('os.', 'socket.', 'fcntl.', 'subprocess.', 'ctypes.')\n"
        "def hook(event, arguments):\n"
        "    path = str(arguments[0]) if arguments else ''\n"
        "    if event == 'open' and not path.endswith(('.py', '.pyc')):\n"
        "        seen.append((event, path))\n"
        "    if event.startswith(asking) and event != 'os.listdir':\n"
        "        seen.append((event, path))\n"
        "sys.addaudithook(hook)\n"
        "from ocirun.cli import warmup\n"
        "warmup.warm_up(names)\n"
        "import os; os.write(1, repr(seen).encode())\n"
    )
    done = install.call("-B", "-I", "-S", "-c", program, program=sys.executable)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[]"


def _modules_below(package: Path) -> list[str]:
    parts = [
        path.relative_to(package.parent).with_suffix("").parts for path in package.rglob("*.py")
    ]
    return sorted(".".join(one).removesuffix(".__init__") for one in parts)
