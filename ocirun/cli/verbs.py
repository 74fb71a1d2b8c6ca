"""The one table of the command line: every verb, its options, how many arguments it takes.

Two readers share it: `cli.parse` reads well-formed calls, `cli.app` builds the typer application
for the others. Help, usage errors, completion and man pages are made of it, too. It is the union of
runc's and crun's flags.

Source: runc(8) and its pages; crun(1); docs/runc-compat/callers.md#arguments.
"""

from __future__ import annotations

from ocirun.cli.options import BOOL, INT, INTS, REPEAT, STR, Option, Verb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

GLOBALS: Final = (
    Option("debug", BOOL, "write debug messages to the log"),
    Option("log", STR, "append the log to FILE instead of stderr", metavar="FILE"),
    Option(
        "log-format",
        STR,
        "log format: text or json",
        metavar="FORMAT",
        default="text",
        choices=("text", "json"),
    ),
    Option(
        "log-level",
        STR,
        "log level: error, warning or debug; overrides --debug",
        metavar="LEVEL",
        choices=("error", "warning", "debug"),
    ),
    Option("root", STR, "directory for container state", metavar="DIR", default=None),
    Option(
        "systemd-cgroup", BOOL, "use the systemd cgroup driver; cgroupsPath is slice:prefix:name"
    ),
    Option(
        "cgroup-manager",
        STR,
        "cgroup driver: cgroupfs, systemd or disabled",
        metavar="MANAGER",
        choices=("cgroupfs", "systemd", "disabled"),
    ),
    Option(
        "rootless",
        STR,
        "ignore cgroup permission errors: true, false or auto",
        metavar="VALUE",
        default="auto",
        choices=("true", "false", "auto"),
    ),
    Option("trace", STR, "record how the command works, as JSON, in FILE", metavar="FILE"),
    Option(
        "engine",
        STR,
        "what runs a new container: native, lxc or vm (default: native; vm if config.json has it)",
        metavar="ENGINE",
        default="",
        choices=("native", "lxc", "vm"),
    ),
    Option("criu", STR, "ignored: criu is taken from $PATH", metavar="PATH", hidden=True),
    Option("version", BOOL, "print the version", "v", "V"),
)

_CREATION: Final = (  # shared by create and run, and some of it by restore
    Option("bundle", STR, "bundle directory (default: current directory)", "b", metavar="DIR"),
    Option(
        "config",
        STR,
        "name of the configuration file in the bundle",
        "f",
        metavar="FILE",
        default="config.json",
    ),
    Option(
        "console-socket",
        STR,
        "unix socket that receives the terminal (pty master)",
        metavar="SOCKET",
    ),
    Option(
        "pidfd-socket", STR, "unix socket that receives a pidfd of the container", metavar="SOCKET"
    ),
    Option("pid-file", STR, "write the pid of the container's init to FILE", metavar="FILE"),
    Option("no-pivot", BOOL, "use MS_MOVE and chroot instead of pivot_root"),
    Option("no-new-keyring", BOOL, "do not create a session keyring"),
    Option("preserve-fds", INT, "pass N file descriptors after stdio and $LISTEN_FDS", metavar="N"),
)
_RESTORATION: Final = ("bundle", "console-socket", "pid-file", "no-pivot")
_NO_SUBREAPER: Final = "do not become the subreaper of the container"
_REGEX: Final = "treat ID as a regular expression that matches containers"
_CRIU: Final = (  # shared by checkpoint and restore
    Option(
        "image-path", STR, "directory of the image files (default: ./checkpoint)", metavar="DIR"
    ),
    Option(
        "work-path",
        STR,
        "working directory of CRIU, with its log (default: image directory)",
        metavar="DIR",
    ),
    Option("tcp-established", BOOL, "keep established TCP connections"),
    Option("ext-unix-sk", BOOL, "allow unix sockets connected to outside the container"),
    Option("shell-job", BOOL, "allow a terminal inherited from the caller"),
    Option("file-locks", BOOL, "keep file locks"),
    Option("lazy-pages", BOOL, "transfer memory on demand, with userfaultfd"),
    Option("auto-dedup", BOOL, "free memory pages that a later image contains"),
    Option(
        "empty-ns", REPEAT, "do not restore the contents of a namespace: network", metavar="NAME"
    ),
    Option(
        "manage-cgroups-mode",
        STR,
        "how CRIU restores cgroups: soft (default), full, strict or ignore",
        metavar="MODE",
        choices=("soft", "full", "strict", "ignore"),
    ),
    Option(
        "network-lock",
        STR,
        "method for blocking network traffic: iptables, nftables or skip",
        metavar="METHOD",
        choices=("iptables", "nftables", "skip"),
    ),
)
_FORMAT: Final = Option(
    "format",
    STR,
    "output format: table or json",
    "f",
    metavar="FORMAT",
    default="table",
    choices=("table", "json"),
)

_REPORT: Final = (  # shared by validate and audit
    Option(
        "config",
        STR,
        "name of the configuration file in the bundle",
        metavar="FILE",
        default="config.json",
    ),
    Option(
        "format",
        STR,
        "output format: text or json",
        "f",
        metavar="FORMAT",
        default="text",
        choices=("text", "json"),
    ),
)

ID: Final = (1, 1)

VERBS: Final = {
    verb.name: verb
    for verb in (
        Verb(
            "create",
            "create a container",
            "ID",
            ID,
            *_CREATION,
            # go-runc may send --detach with create; crun accepts --no-subreaper.
            Option("detach", BOOL, "accepted: create always detaches", "d", hidden=True),
            Option("no-subreaper", BOOL, _NO_SUBREAPER, hidden=True),
        ),
        Verb(
            "run",
            "create and start a container",
            "ID",
            ID,
            *_CREATION,
            Option("detach", BOOL, "return once the container has started", "d"),
            Option("keep", BOOL, "do not delete the container when it exits"),
            Option("no-subreaper", BOOL, _NO_SUBREAPER),
        ),
        Verb(
            "try",
            "run a command in a throwaway container, without a bundle",
            "COMMAND [ARG...]",
            (1, -1),
            Option("interactive", BOOL, "accepted: stdin is always connected", "i"),
            Option("tty", BOOL, "allocate a terminal", "t", "it", "ti"),
            Option(
                "root",
                STR,
                "root directory to run over (default: this machine's file system)",
                metavar="DIR",
            ),
            Option("memory", STR, "memory limit, as 256m or in bytes", "m", metavar="SIZE"),
            Option("cpus", STR, "limit of CPU time, in CPUs, such as 1.5", metavar="N"),
            Option(
                "volume",
                REPEAT,
                "show SRC of the host at DST, read-only with :ro",
                "v",
                metavar="SRC:DST[:ro]",
            ),
            Option(
                "env",
                REPEAT,
                "add NAME=VALUE to the environment; a bare NAME has the caller's value",
                "e",
                metavar="NAME[=VALUE]",
            ),
            Option("workdir", STR, "working directory (default: /)", "w", metavar="DIR"),
            Option("user", STR, "run as UID[:GID], or as a user by name", "u", metavar="USER"),
            Option(
                "net",
                STR,
                "network: none, host, user, or cni:NAME",
                metavar="NETWORK",
                default="none",
                choices=("none", "host", "user"),
            ),
            Option("no-seccomp", BOOL, "do not filter system calls"),
            Option("keep", STR, "keep what is written, in DIR", metavar="DIR"),
            Option("diff", BOOL, "list what was written"),
            Option("bundle", STR, "write a bundle to DIR instead of running it", metavar="DIR"),
            rest=True,
        ),
        Verb("start", "start a created container", "ID", ID),
        Verb("state", "print the state of a container as JSON", "ID", ID),
        Verb(
            "kill",
            "send a signal to a container (default: TERM)",
            "ID [SIGNAL]",
            (1, 2),
            Option("all", BOOL, "signal all processes of the container", "a"),
            Option("regex", BOOL, _REGEX, "r"),
        ),
        Verb(
            "delete",
            "delete a container and its resources",
            "ID",
            ID,
            Option("force", BOOL, "kill the container first if it is running", "f"),
            Option("regex", BOOL, _REGEX, "r"),
        ),
        Verb(
            "list",
            "list containers",
            "",
            (0, 0),
            _FORMAT,
            Option("quiet", BOOL, "print only container ids", "q"),
        ),
        Verb(
            "spec",
            "write a default config.json",
            "",
            (0, 0),
            Option(
                "bundle", STR, "bundle directory (default: current directory)", "b", metavar="DIR"
            ),
            Option(
                "file", STR, "name of the file to write", "f", metavar="FILE", default="config.json"
            ),
            Option("rootless", BOOL, "write a configuration for a rootless container"),
            Option(
                "profile", STR, "what to write: hardened, default or rootless", metavar="PROFILE"
            ),
        ),
        Verb(
            "convert",
            "convert between OCI, LXC and old Docker formats",
            "FROM TO",
            (2, 2),
            Option(
                "from", STR, "format of FROM", metavar="F", choices=("oci", "lxc", "libcontainer")
            ),
            Option("to", STR, "format of TO", metavar="F", choices=("oci", "lxc", "libcontainer")),
            Option("rootfs", STR, "root directory, instead of the one FROM names", metavar="DIR"),
            Option(
                "cgroups", STR, "LXC limits for cgroup v1 or v2", metavar="V", choices=("v1", "v2")
            ),
            Option("old-keys", BOOL, "write the keys that LXC had before version 2.1"),
            Option("strict", BOOL, "write nothing and exit with 1 if anything has no counterpart"),
        ),
        Verb("features", "print the features of this runtime as JSON", "", (0, 0)),
        Verb(
            "doctor",
            "check what this host supports, and suggest fixes",
            "",
            (0, 0),
            _FORMAT,
        ),
        Verb(
            "validate",
            "check the config.json of a bundle, and find what is misspelled",
            "[BUNDLE|FILE]",
            (0, 1),
            *_REPORT,
            Option("strict", BOOL, "exit with 1 on warnings as well"),
        ),
        Verb(
            "audit",
            "show what a process in a container would hold",
            "BUNDLE|ID",
            (1, 1),
            *_REPORT,
            Option(
                "fail-on",
                STR,
                "exit with 2 if a finding is as bad as GRADE, or worse",
                metavar="GRADE",
                choices=("critical", "high", "medium", "low", "note"),
            ),
        ),
        Verb(
            "exec",
            "run a process in a container",
            "ID [COMMAND [ARG...]]",
            (1, -1),
            Option("process", STR, "file with the process as OCI JSON", "p", metavar="FILE"),
            Option("detach", BOOL, "return once the process has started", "d"),
            Option("pid-file", STR, "write the pid of the process to FILE", metavar="FILE"),
            Option(
                "console-socket",
                STR,
                "unix socket that receives the terminal (pty master)",
                metavar="SOCKET",
            ),
            Option(
                "pidfd-socket",
                STR,
                "unix socket that receives a pidfd of the process",
                metavar="SOCKET",
            ),
            Option("cwd", STR, "working directory", metavar="DIR"),
            Option("env", REPEAT, "add NAME=VALUE to the environment", "e", metavar="NAME=VALUE"),
            Option("tty", BOOL, "allocate a terminal", "t"),
            Option("user", STR, "run as UID[:GID] (numeric)", "u", metavar="UID[:GID]"),
            Option("additional-gids", INTS, "add a supplementary group", "g", metavar="GID"),
            Option("process-label", STR, "SELinux label of the process", metavar="LABEL"),
            Option("apparmor", STR, "AppArmor profile of the process", metavar="PROFILE"),
            Option("no-new-privs", BOOL, "set no_new_privs", default=None),
            Option("cap", REPEAT, "add a capability", "c", metavar="CAP"),
            Option("preserve-fds", INT, "pass N file descriptors after stdio", metavar="N"),
            Option(
                "cgroup", REPEAT, "run in a sub-cgroup of the container", metavar="[CTRL,…:]PATH"
            ),
            Option("ignore-paused", BOOL, "allow exec while paused; the process runs after resume"),
            Option("no-subreaper", BOOL, _NO_SUBREAPER, hidden=True),
            rest=True,
        ),
        Verb(
            "checkpoint",
            "checkpoint a running container with CRIU",
            "ID",
            ID,
            *_CRIU,
            Option("leave-running", BOOL, "leave the container running"),
            Option("pre-dump", BOOL, "dump only memory, and leave the container running"),
            Option(
                "parent-path",
                STR,
                "directory of an earlier pre-dump, relative to --image-path",
                metavar="DIR",
            ),
            Option("tcp-skip-in-flight", BOOL, "skip TCP connections that are not established yet"),
            Option("link-remap", BOOL, "link unlinked files for the restore"),
            Option("page-server", STR, "send memory to a page server", metavar="ADDRESS:PORT"),
            Option(
                "status-fd",
                INT,
                "descriptor to notify when lazy pages are ready",
                metavar="N",
                default=-1,
            ),
        ),
        Verb(
            "restore",
            "restore a container from a checkpoint",
            "ID",
            ID,
            *_CRIU,
            *(option for option in _CREATION if option.name in _RESTORATION),
            Option("detach", BOOL, "return once the container has started", "d"),
            Option("no-subreaper", BOOL, _NO_SUBREAPER),
            Option("tcp-close", BOOL, "close the TCP connections of the checkpoint"),
            Option(
                "lsm-profile",
                STR,
                "LSM profile to restore with: apparmor or selinux",
                metavar="TYPE:NAME",
            ),
            Option("lsm-mount-context", STR, "SELinux context of the mounts", metavar="CONTEXT"),
        ),
        Verb("pause", "suspend all processes of a container", "ID", (1, 1)),
        Verb("resume", "resume a paused container", "ID", (1, 1)),
        Verb(
            "update",
            "update the resource limits of a container",
            "ID",
            ID,
            Option(
                "resources",
                STR,
                "file with OCI resources JSON, - for stdin; other flags are ignored",
                "r",
                metavar="FILE",
            ),
            Option(
                "memory", STR, "memory limit, as 512m or in bytes; -1 is unlimited", metavar="SIZE"
            ),
            Option("memory-reservation", STR, "memory reservation (soft limit)", metavar="SIZE"),
            Option(
                "memory-swap", STR, "limit of memory plus swap; -1 is unlimited", metavar="SIZE"
            ),
            Option("kernel-memory", STR, "ignored", metavar="SIZE", hidden=True),
            Option("kernel-memory-tcp", STR, "ignored", metavar="SIZE", hidden=True),
            Option(
                "pids-limit",
                INT,
                "limit of processes and threads; -1 is unlimited",
                metavar="N",
                default=None,
            ),
            Option("cpu-share", STR, "CPU shares (relative weight)", metavar="N"),
            Option(
                "cpu-quota",
                STR,
                "CPU quota per period, in microseconds; -1 is unlimited",
                metavar="N",
            ),
            Option("cpu-period", STR, "length of a CPU period, in microseconds", metavar="N"),
            Option(
                "cpu-burst",
                STR,
                "unused CPU quota that may accumulate, in microseconds",
                metavar="N",
            ),
            Option("cpu-idle", STR, "1: SCHED_IDLE for the whole cgroup; 0: normal", metavar="N"),
            Option(
                "cpu-rt-period", STR, "length of a realtime period, in microseconds", metavar="N"
            ),
            Option(
                "cpu-rt-runtime", STR, "realtime CPU time per period, in microseconds", metavar="N"
            ),
            Option("cpuset-cpus", STR, "CPUs to use, such as 0-3,7", metavar="LIST"),
            Option("cpuset-mems", STR, "memory nodes to use", metavar="LIST"),
            Option("blkio-weight", INT, "block I/O weight, 10 to 1000", metavar="N"),
            Option("l3-cache-schema", STR, "L3 cache allocation (resctrl)", metavar="SCHEMA"),
            Option("mem-bw-schema", STR, "memory bandwidth allocation (resctrl)", metavar="SCHEMA"),
        ),
        Verb(
            "mounts",
            "add or remove mounts of a running container",
            "add|remove ID FILE",
            (3, 3),
        ),
        Verb(
            "net",
            "show the networks of containers, or remove what is left of them",
            "ls|inspect|prune [ID]",
            (1, 2),
            _FORMAT,
        ),
        Verb(
            "ps",
            "list the processes of a container",
            "ID [PS-OPTION...]",
            (1, -1),
            _FORMAT,
            rest=True,
        ),
        Verb(
            "events",
            "print statistics and out-of-memory events",
            "ID",
            ID,
            Option(
                "interval",
                STR,
                "interval between statistics, such as 500ms, 5s, 1m30s",
                metavar="DURATION",
                default="5s",
            ),
            Option("stats", BOOL, "print statistics once and exit"),
        ),
        Verb(
            "top",
            "show live statistics of containers",
            "[ID...]",
            (0, -1),
            Option(
                "interval",
                STR,
                "refresh interval, such as 500ms, 1s",
                metavar="DURATION",
                default="1s",
            ),
            Option("once", BOOL, "print once after one interval and exit"),
            _FORMAT,
        ),
        Verb(
            "trace",
            "show what --trace has recorded",
            "view FILE...",
            (2, -1),
            Option("output", STR, "write a page of HTML to FILE", "o", metavar="FILE"),
        ),
        Verb("snapshot", "make the image that lets ocirun start in a millisecond", "", (0, 0)),
        Verb("completion", "print a completion script for bash, zsh or fish", "SHELL", (1, 1)),
        Verb("version", "print the version", "", (0, 0)),
        Verb(
            "complete",
            "internal: asked by completion scripts",
            "SHELL [WORD...]",
            (1, -1),
            hidden=True,
            rest=True,
        ),
        Verb("init", "internal: started by ocirun itself", "", (0, -1), hidden=True, rest=True),
    )
}
