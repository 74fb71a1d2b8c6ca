"""Run a throwaway container, or write its bundle."""

from __future__ import annotations

import os
from fcntl import LOCK_EX, LOCK_NB, flock

from ocirun.container.options import CreateOptions
from ocirun.container.run import run as run_container
from ocirun.container.store import Store
from ocirun.errors import OcirunError, SetupError, UnsupportedError, UsageError, doing
from ocirun.kernel.procstat import is_in_user_namespace
from ocirun.throwaway.changes import changes_in
from ocirun.throwaway.config import Surroundings, make_config
from ocirun.throwaway.identity import mappings_of_caller
from ocirun.throwaway.layers import check_path, tree_of_directory, tree_of_machine
from ocirun.throwaway.machine import masked_paths, sockets
from ocirun.throwaway.scratch import enter_scratch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirun.process.channel import Tell
    from ocirun.spec.types import Config
    from ocirun.throwaway.layers import Tree
    from ocirun.throwaway.options import TryOptions

CONFIG = "config.json"
PARTS = {"rootfs", "upper", "work"}  # the entries of a --keep directory


class Outcome:
    """The result: exit status, lines of written paths (with --diff), failures of the cleanup."""

    __slots__ = ("changes", "failures", "status")

    def __init__(self, status: int, changes: list[str], failures: list[OcirunError]) -> None:
        self.status = status
        self.changes = changes
        self.failures = failures


def try_command(
    options: TryOptions,
    state_root: str,
    *,
    cgroup_manager: str = "cgroupfs",
    rootless: str = "auto",
    tell: Tell | None = None,
) -> Outcome:
    """Run the command in a new container, wait for it to end, and remove everything but `keep`.

    This process enters a new mount namespace and, without root, a new user namespace, so the caller
    should exit afterwards. It must have one thread.

    Raises:
        UsageError: an option has a wrong value.
        SpecError, SetupError: the container cannot be created; nothing is left behind.
    """
    tree, masked, around = _plan(options, makes_userns=False)
    if options.keep:
        check_path(options.keep)
        _make_empty(options.keep, PARTS)
        _lock(options.keep)
    store = Store(state_root)
    os.close(store.make_root())
    place = enter_scratch(store.root, around.maps)
    layers = options.keep or place
    tree.make(layers)
    config = make_config(options, tree, layers, masked, around)
    config["root"]["path"] = f"{layers}/rootfs"
    _write_config(place, config)
    how = CreateOptions(bundle=place, cgroup_manager=cgroup_manager, rootless=rootless, tell=tell)
    name = f"try-{os.urandom(4).hex()}"
    try:
        status, failures = run_container(store, name, how, detach=False, keep=False, subreaper=True)
    except SetupError as error:
        raise _with_remedy(error, options) from error
    except UnsupportedError as error:
        if options.filters_calls and "seccomp" in str(error):
            raise SetupError(f"{error}; --no-seccomp runs it without a filter") from error
        raise
    changes = changes_in(tree, layers) if options.shows_changes else []
    return Outcome(status, changes, failures)


def write_bundle(options: TryOptions, directory: str) -> None:
    """Write the bundle into `directory`, which is created, or must be empty.

    Raises:
        UsageError: it is not empty. SetupError: the kernel refused.
    """
    check_path(directory)
    tree, masked, around = _plan(options, makes_userns=True)
    _make_empty(directory, set())
    tree.make(directory)
    _write_config(directory, make_config(options, tree, directory, masked, around))


def _plan(options: TryOptions, *, makes_userns: bool) -> tuple[Tree, list[str], Surroundings]:
    """Return the tree, the paths to mask in it, and the surroundings; changes nothing."""
    from ocirun.cgroups.choose import layout
    from ocirun.cgroups.paths import read_table

    is_root = os.geteuid() == 0
    cgroup_v2 = layout() == "v2"
    around = Surroundings(
        cgroup_v2=cgroup_v2,
        limits_pids=is_root and (cgroup_v2 or read_table().v1_mount("pids") is not None),
        maps=None if is_root else mappings_of_caller(),
        makes_userns=makes_userns,
    )
    if options.root:
        tree = tree_of_directory(options.root, userns=around.userns)
        masked = sorted({path[len(options.root) :] for path in sockets((options.root,))})
    else:
        tree, masked = tree_of_machine(userns=around.userns), masked_paths()
    for source, _, _ in options.volumes:
        if not os.path.lexists(source):
            raise UsageError(f"--volume: {source} does not exist")
    return tree, masked, around


def _lock(directory: str) -> None:
    """Lock `directory` until this process ends.

    Raises:
        UsageError: another `ocirun try` uses it.
    """
    with doing(f"locking {directory}"):
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            flock(fd, LOCK_EX | LOCK_NB)
        except BlockingIOError:
            raise UsageError(f"{directory} is in use by another `ocirun try`") from None


def _make_empty(directory: str, allowed: set[str]) -> None:
    """Create `directory` with mode 0700; an existing one may contain only `allowed`."""
    with doing(f"making the directory {directory}"):
        try:
            os.mkdir(directory, 0o700)
        except FileExistsError:
            strangers = sorted(set(os.listdir(directory)) - allowed)
            if strangers:
                raise UsageError(
                    f"{directory} is not empty (it has {strangers[0]!r}): name a new directory"
                ) from None


def _write_config(directory: str, config: Config) -> None:
    from ocirun.spec.jsontext import indented

    path = f"{directory}/{CONFIG}"
    with (
        doing(f"writing {path}"),
        open(path, "w", encoding="utf-8", errors="surrogateescape") as file,
    ):
        file.write(indented(config, "\t") + "\n")


def _with_remedy(error: SetupError, options: TryOptions) -> SetupError:
    """Return the error with a remedy if an overlay was refused."""
    sentence = str(error)
    if 'mounting "overlay"' not in sentence:
        return error
    if options.keep:
        remedy = "name a directory on another file system with --keep (ext4, xfs, btrfs, tmpfs)"
    elif is_in_user_namespace():
        remedy = "overlays in a user namespace need Linux 5.11: run it as root"
    else:
        remedy = "unpack a root file system on a local disk and name it with --root"
    return SetupError(f"{sentence}; {remedy}", error.errno)
