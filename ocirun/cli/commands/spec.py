"""`ocirun spec`: a config.json to start from."""

from __future__ import annotations

import os

from ocirun.errors import SetupError, UsageError, doing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirun.cli.call import Call
    from ocirun.spec.types import Config


def run(call: Call) -> int:
    """Write the file, tab-indented; never over an existing one."""
    from ocirun.spec.jsontext import indented

    config = _config(call.text("profile"), call.flag("rootless"))
    _write_new(
        call.text("bundle") or ".", call.text("file") or "config.json", indented(config, "\t")
    )
    return 0


def _config(profile: str, rootless: bool) -> Config:
    """Return the config of `profile`, "" being the default one; `rootless` is --rootless.

    Raises:
        UsageError: there is no such profile, or --rootless contradicts it.
    """
    from ocirun.cgroups.choose import layout

    if profile not in {"", "default", "hardened", "rootless"}:
        raise UsageError(f"{profile!r} is not a profile: hardened, default or rootless")
    if rootless and profile not in {"", "rootless"}:
        raise UsageError(f"--rootless is --profile rootless, not {profile}")
    cgroup_v2, uid, gid = layout() == "v2", os.geteuid(), os.getegid()
    if profile == "hardened":
        from ocirun.spec.hardened import hardened_config

        return hardened_config(cgroup_v2, uid, gid)
    from ocirun.spec.default import default_config

    return default_config(rootless or profile == "rootless", cgroup_v2, uid, gid)


def _write_new(bundle: str, name: str, text: str) -> None:
    """Create `bundle`/`name` holding `text`, mode 0666 less the umask.

    Raises:
        UsageError: the file is there already.
        SetupError: the kernel refused; nothing is left of the file.
    """
    with doing(f"chdir {bundle}"):
        bundle_fd = os.open(bundle, os.O_DIRECTORY | os.O_PATH | os.O_CLOEXEC)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        with doing(f"open {name}"):
            fd = os.open(name, flags, 0o666, dir_fd=bundle_fd)
        try:
            with doing(f"writing {name}"):
                _write_all(fd, text.encode("utf-8", "surrogateescape"))
        except SetupError:
            os.unlink(name, dir_fd=bundle_fd)  # half of it would be in the way of the next try
            raise
        finally:
            os.close(fd)
    except SetupError as error:
        if isinstance(error.__cause__, FileExistsError):
            raise UsageError(f"File {name} exists. Remove it first") from error
        raise
    finally:
        os.close(bundle_fd)


def _write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]
