"""`checkpoint` and `restore` hand over every option, in the spellings that callers send."""

from __future__ import annotations

from pathlib import Path

import pytest

from ocirun.cli.launcher import act
from ocirun.errors import HookError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unit.cli.conftest import World

# What go-runc sends for either verb: docs/runc-compat/callers.md.
BOTH = (
    "--image-path img --work-path work --tcp-established --ext-unix-sk --shell-job --file-locks "
    "--manage-cgroups-mode full --empty-ns network --lazy-pages"
)
SHARED = {
    "tcp_established": True,
    "ext_unix_sk": True,
    "shell_job": True,
    "file_locks": True,
    "lazy_pages": True,
    "auto_dedup": False,
    "manage_cgroups_mode": "full",
    "empty_ns": ("network",),
    "network_lock": "",
    "tell": None,
}
ABSENT = {
    "parent_path": "",
    "leave_running": False,
    "pre_dump": False,
    "tcp_skip_in_flight": False,
    "link_remap": False,
    "page_server": "",
    "status_fd": -1,
    "tcp_close": False,
    "lsm_profile": "",
    "lsm_mount_context": "",
}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_checkpoint_as_go_runc_calls_it(world: World, here: Path) -> None:
    words = f"checkpoint {BOTH} --parent-path ../p --page-server 127.0.0.1:8 --status-fd 3 "
    assert act([*words.split(), "--leave-running", "--pre-dump", "web"]) == 0
    [(verb, store, name, options)] = world.calls
    assert (verb, str(store), name) == ("checkpoint", "Store(/run/default)", "web")
    assert vars(options) == {
        **ABSENT,
        **SHARED,
        "image_path": str(here / "img"),
        "work_path": str(here / "work"),
        "parent_path": "../p",
        "page_server": "127.0.0.1:8",
        "status_fd": 3,
        "leave_running": True,
        "pre_dump": True,
    }


def test_checkpoint_without_options(world: World, here: Path) -> None:
    assert act(["checkpoint", "web"]) == 0
    options = world.calls[0][3]
    assert (options.image_path, options.work_path) == (str(here / "checkpoint"),) * 2


def test_restore_as_go_runc_calls_it(world: World, here: Path) -> None:
    words = (
        f"restore {BOTH} --detach --pid-file p --console-socket s --no-pivot -no-subreaper "
        "--bundle b web"
    )
    assert act(["--systemd-cgroup", *words.split()]) == 0
    [(verb, _, name, options, criu_options, how)] = world.calls
    assert (verb, name) == ("restore", "web")
    assert how == {"detach": True, "subreaper": False}
    assert vars(options) == {
        "bundle": str(here / "b"),
        "console_socket": str(here / "s"),
        "pid_file": str(here / "p"),
        "no_pivot": True,
        "cgroup_manager": "systemd",
        "rootless": "auto",
        "tell": None,
    }
    assert vars(criu_options) == {
        **ABSENT,
        **SHARED,
        "image_path": str(here / "img"),
        "work_path": str(here / "work"),
    }


def test_restore_with_what_podman_adds(world: World, here: Path) -> None:
    words = "restore --tcp-close --lsm-profile apparmor:x --lsm-mount-context c -d web"
    assert act(words.split()) == 0
    options, criu_options = world.calls[0][3:5]
    assert options.bundle == str(here)
    assert (criu_options.tcp_close, criu_options.lsm_profile) == (True, "apparmor:x")
    assert criu_options.lsm_mount_context == "c"


def test_restore_in_the_foreground_gives_its_status(world: World) -> None:
    world.status = 37
    assert act(["restore", "web"]) == 37
    assert world.calls[0][5] == {"detach": False, "subreaper": True}


@pytest.mark.parametrize("verb", ["checkpoint", "restore"])
def test_a_failed_poststop_hook_is_a_warning(
    world: World, capfd: pytest.CaptureFixture[str], verb: str
) -> None:
    world.poststop = [HookError("poststop", 0, "/hook", "exit status 1")]
    assert act([verb, "web"]) == 0
    assert "poststop hook #0" in capfd.readouterr().err
