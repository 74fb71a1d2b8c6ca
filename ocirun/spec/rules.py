"""What a schema cannot say: members that need each other, and facts of the host that are cheap.

Every rule is one function from the whole config to the problems it finds, and stands in RULES. A
rule may trust the document's shape: `checks` has seen it before. Where callers or people know
runc's messages, these are runc's. Rules for members that few containers have are in `linux_rules`
and `process_rules`, and are loaded when such a member is there.

Source: runtime-spec 1.3 config.md, config-linux.md; docs/runc-compat/init.md#validation.
"""

from __future__ import annotations

import os

from ocirun.errors import Problem, kernel_words
from ocirun.spec.jsontext import escaped, printable, quoted
from ocirun.spec.mount_rules import MOUNT_RULES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final, Literal

    from ocirun.spec.types import Config, Process, Resources

    Found = Iterator[Problem]

# Members of `linux` and `process` that have rules of their own elsewhere.
LINUX_ASKED: Final = frozenset(
    (
        "sysctl",
        "timeOffsets",
        "netDevices",
        "seccomp",
        "intelRdt",
        "memoryPolicy",
        "personality",
    )
)
# Kernel: 12 bits of major and 20 of minor (linux/kdev_t.h).
DEVICE_NUMBERS: Final[tuple[tuple[Literal["major", "minor"], int], ...]] = (
    ("major", (1 << 12) - 1),
    ("minor", (1 << 20) - 1),
)
MAX_DEVICE_NUMBER: Final = (1 << 32) - 1  # what rules for devices may say; "*" is -1
PROCESS_ASKED: Final = frozenset(
    ("scheduler", "selinuxLabel", "apparmorProfile", "execCPUAffinity")
)


def check_rules(config: Config) -> list[Problem]:
    """Return every broken rule of `config`, a document that has passed `check_config`."""
    problems = [problem for rule in RULES for problem in rule(config)]
    if not LINUX_ASKED.isdisjoint(config.get("linux", ())):
        from ocirun.spec.linux_rules import check_linux_rules

        problems += check_linux_rules(config)
    if "process" in config:
        problems += check_process_rules(config["process"], "/process")
    return problems


def check_process_rules(process: Process, pointer: str = "") -> list[Problem]:
    """Return every broken rule of `process`, which stands at `pointer` in its document."""
    problems = [problem for rule in PROCESS_RULES for problem in rule(process)]
    if not PROCESS_ASKED.isdisjoint(process):
        from ocirun.spec.process_rules import check_asked_rules

        problems += check_asked_rules(process)
    for problem in problems:
        problem.pointer = pointer + problem.pointer
    return problems


def check_resources_rules(resources: Resources, pointer: str = "") -> list[Problem]:
    """Return every broken rule of `resources`, which stands at `pointer` in its document."""
    problems = [problem for rule in RESOURCES_RULES for problem in rule(resources)]
    for problem in problems:
        problem.pointer = pointer + problem.pointer
    return problems


def namespace_paths(config: Config) -> dict[str, str]:
    """Return the path of each namespace in `linux.namespaces` by type; "" is a new one."""
    entries = config.get("linux", {}).get("namespaces", ())
    return {entry["type"]: entry.get("path", "") for entry in entries}


# --- the whole document ---------------------------------------------------------------------------


def version_is_one(config: Config) -> Found:
    """Every version is read the same way, but a value that is not a version is an error.

    Written by hand it is often only "1.0", or empty, which does no harm.
    """
    version = config["ociVersion"]
    if version and not "0" <= version[0] <= "9":
        yield Problem("/ociVersion", f"{quoted(version)} is not a version of the specification")


def root_is_given(config: Config) -> Found:
    """A container on Linux has a root; the specification leaves it out for virtual machines."""
    if "root" not in config:
        yield Problem("/root", "root must be specified")
    elif not config["root"]["path"]:
        yield Problem("/root/path", "path must not be empty")


def each_namespace_once(config: Config) -> Found:
    """A type that appears twice says two things."""
    seen: set[str] = set()
    for index, entry in enumerate(config.get("linux", {}).get("namespaces", ())):
        if entry["type"] in seen:
            yield Problem(f"/linux/namespaces/{index}", f'duplicated ns "{entry["type"]}"')
        seen.add(entry["type"])


def namespace_to_join_exists(config: Config) -> Found:
    """A path is absolute and there; whether it is of its type the kernel says in setns(2)."""
    for index, entry in enumerate(config.get("linux", {}).get("namespaces", ())):
        path = entry.get("path", "")
        where = f"/linux/namespaces/{index}/path"
        if path and not path.startswith("/"):
            yield Problem(where, f"namespace path {quoted(path)} must be absolute")
        elif path:
            try:
                os.lstat(path)
            except OSError as error:
                yield Problem(
                    where, f"namespace path: lstat {printable(path)}: {kernel_words(error)}"
                )


def names_need_uts(config: Config) -> Found:
    """Without a new UTS namespace the container would rename the host."""
    if "uts" not in namespace_paths(config):
        for name in ("hostname", "domainname"):
            if config.get(name):
                yield Problem(f"/{name}", f"unable to set {name} without a private UTS namespace")


def hidden_paths_need_mount(config: Config) -> Found:
    """Without a mount namespace of its own the container would hide the host's files."""
    if "mount" in namespace_paths(config):
        return
    linux = config.get("linux", {})
    for name in ("maskedPaths", "readonlyPaths"):
        if linux.get(name):
            message = "unable to restrict sys entries without a private MNT namespace"
            yield Problem(f"/linux/{name}", message)


def mounts_need_mount(config: Config) -> Found:
    """Without a mount namespace of its own the container's mounts would be the host's."""
    if "mount" in namespace_paths(config):
        return
    hint = 'add {"type": "mount"} to /linux/namespaces'
    if config.get("mounts"):
        yield Problem("/mounts", "unable to mount anything without a mount namespace", hint)
    if config.get("root", {}).get("readonly"):
        message = "unable to make the root read-only without a mount namespace"
        yield Problem("/root/readonly", message, hint)


def hidden_paths_are_absolute(config: Config) -> Found:
    """A relative path would depend on where init happens to stand."""
    linux = config.get("linux", {})
    for name, paths in (
        ("maskedPaths", linux.get("maskedPaths", ())),
        ("readonlyPaths", linux.get("readonlyPaths", ())),
    ):
        for index, path in enumerate(paths):
            if not path.startswith("/"):
                yield Problem(f"/linux/{name}/{index}", f"{quoted(path)} must be an absolute path")


def user_namespace_and_maps(config: Config) -> Found:
    """A new user namespace without maps is unusable; maps without one have no meaning."""
    linux = config.get("linux", {})
    path = namespace_paths(config).get("user")
    for member, ids in (("uidMappings", "uid"), ("gidMappings", "gid")):
        if path is None and linux.get(member):
            message = (
                "user namespace mappings specified, but user namespace isn't enabled in the config"
            )
            yield Problem(f"/linux/{member}", message, 'add {"type": "user"} to /linux/namespaces')
        elif path == "" and not linux.get(member):
            message = f"user namespaces enabled, but no {ids} mappings found"
            remedy = 'add for example [{"containerID": 0, "hostID": 100000, "size": 65536}]'
            yield Problem(f"/linux/{member}", message, remedy)


def device_is_complete(config: Config) -> Found:
    """A node has an absolute path and, unless it is a pipe, two numbers."""
    for index, device in enumerate(config.get("linux", {}).get("devices", ())):
        where = f"/linux/devices/{index}"
        if not device["path"].startswith("/"):
            yield Problem(f"{where}/path", f"device path {quoted(device['path'])} must be absolute")
        if device["type"] == "p":
            continue
        for name, most in DEVICE_NUMBERS:
            if name not in device:
                yield Problem(where, f"a device of type {device['type']} needs {name}")
            elif not 0 <= device[name] <= most:
                message = f"{device[name]} is not the number of a device: 0 to {most}"
                yield Problem(f"{where}/{name}", message)


def resources_keep_their_rules(config: Config) -> Found:
    """The limits of the container; `update` asks the same of those it is given."""
    resources = config.get("linux", {}).get("resources", {})
    yield from check_resources_rules(resources, "/linux/resources")


def device_rules_have_access(config: Config) -> Found:
    """A rule that is about no access would allow or deny nothing, or with type `a` everything."""
    rules = config.get("linux", {}).get("resources", {}).get("devices", ())
    for index, rule in enumerate(rules):
        if not rule.get("access"):
            message = f"device access at {index} field cannot be empty"
            yield Problem(f"/linux/resources/devices/{index}/access", message, 'for example "rwm"')


def hook_is_absolute(config: Config) -> Found:
    """Hooks run where the bundle's author does not know the working directory."""
    for moment, hooks in config.get("hooks", {}).items():
        if moment in HOOK_NAMES:
            for index, hook in enumerate(hooks):  # type: ignore[arg-type, var-annotated]  # a list
                if not hook["path"].startswith("/"):
                    message = f"hook path {quoted(hook['path'])} must be absolute"
                    yield Problem(f"/hooks/{moment}/{index}/path", message)


HOOK_NAMES: Final = (
    "prestart",
    "createRuntime",
    "createContainer",
    "startContainer",
    "poststart",
    "poststop",
)

RULES: Final = (
    version_is_one,
    root_is_given,
    each_namespace_once,
    namespace_to_join_exists,
    names_need_uts,
    hidden_paths_need_mount,
    mounts_need_mount,
    hidden_paths_are_absolute,
    user_namespace_and_maps,
    *MOUNT_RULES,
    device_is_complete,
    resources_keep_their_rules,
    device_rules_have_access,
    hook_is_absolute,
)

# --- resources ------------------------------------------------------------------------------------


def unified_names_are_files(resources: Resources) -> Found:
    """Security: a name with a slash would leave the container's cgroup."""
    for name in resources.get("unified", ()):
        if "/" in name or name in {"", ".", ".."}:
            message = f"unified resource {quoted(name)} must be a file name (no slashes)"
            yield Problem(f"/unified/{escaped(name)}", message)


def device_rules_have_numbers(resources: Resources) -> Found:
    """A number that no device can have is a mistake; -1 is every number."""
    for index, rule in enumerate(resources.get("devices", ())):
        for name, _ in DEVICE_NUMBERS:
            if not -1 <= rule.get(name, -1) <= MAX_DEVICE_NUMBER:
                message = f"{rule[name]} is not a device number: -1 to {MAX_DEVICE_NUMBER}"
                yield Problem(f"/devices/{index}/{name}", message)


RESOURCES_RULES: Final = (unified_names_are_files, device_rules_have_numbers)

# --- process --------------------------------------------------------------------------------------


def cwd_is_absolute(process: Process) -> Found:
    """The working directory is named from the container's root."""
    if not process["cwd"]:
        yield Problem("/cwd", "Cwd property must not be empty")
    elif not process["cwd"].startswith("/"):
        yield Problem("/cwd", "Cwd must be an absolute path")


def args_name_a_program(process: Process) -> Found:
    """Nothing to run is nothing to contain."""
    if not process.get("args"):
        yield Problem("/args", "args must not be empty")


def env_has_names(process: Process) -> Found:
    """An entry without a name, or without a value to give it, is not an environment variable."""
    for index, entry in enumerate(process.get("env", ())):
        place = entry.find("=")
        if place < 0:
            yield Problem(f"/env/{index}", "invalid environment variable: missing '='")
        elif place == 0:
            yield Problem(f"/env/{index}", "invalid environment variable: name cannot be empty")


def each_rlimit_once(process: Process) -> Found:
    """A type that appears twice says two things; and the kernel wants soft below hard."""
    seen: set[str] = set()
    for index, limit in enumerate(process.get("rlimits", ())):
        if limit["type"] in seen:
            yield Problem(f"/rlimits/{index}/type", f"{limit['type']} is given twice")
        if limit["soft"] > limit["hard"]:
            message = f"soft limit {limit['soft']} is above the hard limit {limit['hard']}"
            yield Problem(f"/rlimits/{index}/soft", message)
        seen.add(limit["type"])


PROCESS_RULES: Final = (cwd_is_absolute, args_name_a_program, env_has_names, each_rlimit_once)
