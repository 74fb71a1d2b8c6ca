"""The one table of the command line: every verb, its options, how many words it takes.

Two readers share it: `cli.parse` reads well-formed calls, `cli.app` builds the typer application
that owns help, usage errors and completion. It is the union of runc's and crun's flags.

Source: runc(8) and its pages; crun(1); docs/runc-compat/callers.md#arguments.
"""

from __future__ import annotations

from ocirun.cli.options import BOOL, INT, REPEAT, STR, Option, Verb

GLOBALS = (
    Option("debug", BOOL, "tell what is being done, in the log"),
    Option("log", STR, "append log lines to FILE instead of stderr", metavar="FILE"),
    Option("log-format", STR, "how log lines look: text or json", metavar="FORMAT", default="text"),
    Option("log-level", STR, "error, warning or debug; wins over --debug", metavar="LEVEL"),
    Option("root", STR, "where the state of containers is kept", metavar="DIR", default=None),
    Option("systemd-cgroup", BOOL, "let systemd manage cgroups; cgroupsPath is slice:prefix:name"),
    Option("cgroup-manager", STR, "cgroupfs, systemd or disabled", metavar="MANAGER"),
    Option(
        "rootless",
        STR,
        "tolerate missing cgroup permissions: true, false or auto",
        metavar="VALUE",
        default="auto",
    ),
    Option("version", BOOL, "print the version", "v", "V"),
)

_CREATION = (  # shared by create and run, and some of it by restore
    Option("bundle", STR, "the bundle's directory (default: here)", "b", metavar="DIR"),
    Option(
        "config",
        STR,
        "the configuration's file name in the bundle",
        "f",
        metavar="FILE",
        default="config.json",
    ),
    Option(
        "console-socket", STR, "unix socket that is sent the terminal's master", metavar="SOCKET"
    ),
    Option(
        "pidfd-socket", STR, "unix socket that is sent a pidfd of the container", metavar="SOCKET"
    ),
    Option("pid-file", STR, "write the container's pid to FILE", metavar="FILE"),
    Option("no-pivot", BOOL, "enter the root by moving it, for bundles on a ramdisk"),
    Option("no-new-keyring", BOOL, "keep the caller's session keyring"),
    Option("preserve-fds", INT, "pass N more descriptors after stdio and $LISTEN_FDS", metavar="N"),
)
_RESTORATION = ("bundle", "console-socket", "pid-file", "no-pivot")
_NO_SUBREAPER = "do not adopt the container's orphans"
_REGEX = "take ID as a regular expression: act on every container it matches"
_CRIU = (  # shared by checkpoint and restore
    Option("image-path", STR, "the folder of the images (default: ./checkpoint)", metavar="DIR"),
    Option("work-path", STR, "where CRIU works and logs (default: the images')", metavar="DIR"),
    Option("tcp-established", BOOL, "with connections that are open"),
    Option("ext-unix-sk", BOOL, "with unix sockets whose other end is outside"),
    Option("shell-job", BOOL, "with a terminal that belongs to the caller"),
    Option("file-locks", BOOL, "with file locks"),
    Option("lazy-pages", BOOL, "memory is fetched when it is touched, by userfaultfd"),
    Option("auto-dedup", BOOL, "free in the images what is in later ones"),
    Option("empty-ns", REPEAT, "a namespace whose content is left out: network", metavar="NAME"),
    Option(
        "manage-cgroups-mode",
        STR,
        "what of cgroups goes along: soft (default), full, strict or ignore",
        metavar="MODE",
    ),
    Option(
        "network-lock",
        STR,
        "how packets are held off: iptables, nftables or skip",
        metavar="METHOD",
    ),
)
_FORMAT = Option(
    "format", STR, "how to print: table or json", "f", metavar="FORMAT", default="table"
)

ID = (1, 1)

VERBS = {
    verb.name: verb
    for verb in (
        Verb(
            "create",
            "create a container, ready to be started",
            "ID",
            ID,
            *_CREATION,
            # go-runc may send it with create, where it goes without saying; crun takes the other.
            Option("detach", BOOL, "accepted: create always detaches", "d", hidden=True),
            Option("no-subreaper", BOOL, _NO_SUBREAPER, hidden=True),
        ),
        Verb(
            "run",
            "create a container and start it",
            "ID",
            ID,
            *_CREATION,
            Option("detach", BOOL, "return as soon as it runs", "d"),
            Option("keep", BOOL, "keep the container's record after it ends"),
            Option("no-subreaper", BOOL, _NO_SUBREAPER),
        ),
        Verb("start", "start the program of a created container", "ID", ID),
        Verb("state", "print a container's state as JSON", "ID", ID),
        Verb(
            "kill",
            "send a signal to a container (default: TERM)",
            "ID [SIGNAL]",
            (1, 2),
            Option("all", BOOL, "signal every process of the container", "a"),
            Option("regex", BOOL, _REGEX, "r"),
        ),
        Verb(
            "delete",
            "delete a container and all that was made for it",
            "ID",
            ID,
            Option("force", BOOL, "kill it first if it still runs", "f"),
            Option("regex", BOOL, _REGEX, "r"),
        ),
        Verb(
            "list",
            "list the containers of this root",
            "",
            (0, 0),
            _FORMAT,
            Option("quiet", BOOL, "print ids only", "q"),
        ),
        Verb(
            "spec",
            "write a starting point for config.json",
            "",
            (0, 0),
            Option("bundle", STR, "the bundle's directory (default: here)", "b", metavar="DIR"),
            Option("file", STR, "the file to write", "f", metavar="FILE", default="config.json"),
            Option("rootless", BOOL, "write it for a user who is not root"),
        ),
        Verb("features", "print what this runtime can do as JSON", "", (0, 0)),
        Verb(
            "doctor",
            "tell what this host lacks, what follows and what helps",
            "",
            (0, 0),
            _FORMAT,
        ),
        Verb(
            "validate",
            "print every broken rule of a bundle's config.json",
            "[BUNDLE]",
            (0, 1),
            Option(
                "config",
                STR,
                "the configuration's file name in the bundle",
                metavar="FILE",
                default="config.json",
            ),
            Option(
                "format", STR, "how to print: text or json", "f", metavar="FORMAT", default="text"
            ),
        ),
        Verb(
            "exec",
            "run one more process in a running container",
            "ID [COMMAND [ARG...]]",
            (1, -1),
            Option(
                "process", STR, "what to run, as a file of OCI process JSON", "p", metavar="FILE"
            ),
            Option("detach", BOOL, "return once it runs", "d"),
            Option("pid-file", STR, "write the process's pid to FILE", metavar="FILE"),
            Option(
                "console-socket",
                STR,
                "unix socket that is sent the terminal's master",
                metavar="SOCKET",
            ),
            Option(
                "pidfd-socket",
                STR,
                "unix socket that is sent a pidfd of the process",
                metavar="SOCKET",
            ),
            Option("cwd", STR, "its working directory", metavar="DIR"),
            Option("env", REPEAT, "add NAME=VALUE to its environment", "e", metavar="NAME=VALUE"),
            Option("tty", BOOL, "give it a terminal", "t"),
            Option("user", STR, "run as UID[:GID], numbers", "u", metavar="UID[:GID]"),
            Option("additional-gids", REPEAT, "add a supplementary group", "g", metavar="GID"),
            Option("process-label", STR, "SELinux label of the process", metavar="LABEL"),
            Option("apparmor", STR, "AppArmor profile of the process", metavar="PROFILE"),
            Option("no-new-privs", BOOL, "let it gain no rights through execve"),
            Option("cap", REPEAT, "add a capability", "c", metavar="CAP"),
            Option("preserve-fds", INT, "pass N more descriptors after stdio", metavar="N"),
            Option(
                "cgroup", REPEAT, "run in a cgroup below the container's", metavar="[CTRL,…:]PATH"
            ),
            Option("ignore-paused", BOOL, "also in a paused container, where it will wait"),
            Option("no-subreaper", BOOL, _NO_SUBREAPER, hidden=True),
            rest=True,
        ),
        Verb(
            "checkpoint",
            "save a running container into files, with CRIU",
            "ID",
            ID,
            *_CRIU,
            Option("leave-running", BOOL, "let it go on afterwards"),
            Option("pre-dump", BOOL, "save only its memory, while it runs"),
            Option(
                "parent-path",
                STR,
                "images of a pre-dump, relative to the new ones",
                metavar="DIR",
            ),
            Option("tcp-skip-in-flight", BOOL, "without connections that are being opened"),
            Option("link-remap", BOOL, "with files whose name is gone"),
            Option("page-server", STR, "send memory there instead", metavar="ADDRESS:PORT"),
            Option(
                "status-fd",
                INT,
                "descriptor that hears when lazy pages are ready",
                metavar="N",
                default=-1,
            ),
        ),
        Verb(
            "restore",
            "make a container again from the files of a checkpoint",
            "ID",
            ID,
            *_CRIU,
            *(option for option in _CREATION if option.name in _RESTORATION),
            Option("detach", BOOL, "return as soon as it runs", "d"),
            Option("no-subreaper", BOOL, _NO_SUBREAPER),
            Option("tcp-close", BOOL, "close the connections it had"),
            Option("lsm-profile", STR, "another profile or label", metavar="TYPE:NAME"),
            Option("lsm-mount-context", STR, "another context of its mounts", metavar="CONTEXT"),
        ),
        Verb("pause", "stop all processes of a container where they are", "ID", (1, 1)),
        Verb("resume", "let the processes of a paused container go on", "ID", (1, 1)),
        Verb(
            "update",
            "change the limits of a container",
            "ID",
            ID,
            Option(
                "resources",
                STR,
                "read them from a file of OCI resources JSON, - for stdin, and from no other flag",
                "r",
                metavar="FILE",
            ),
            Option("memory", STR, "memory, in bytes or as 512m; -1 for no limit", metavar="SIZE"),
            Option("memory-reservation", STR, "memory to be left with", metavar="SIZE"),
            Option("memory-swap", STR, "memory and swap together; -1 for no limit", metavar="SIZE"),
            Option("kernel-memory", STR, "ignored", metavar="SIZE", hidden=True),
            Option("kernel-memory-tcp", STR, "ignored", metavar="SIZE", hidden=True),
            Option("pids-limit", INT, "tasks; -1 for no limit", metavar="N", default=None),
            Option("cpu-share", STR, "weight against other containers", metavar="N"),
            Option(
                "cpu-quota", STR, "microseconds of CPU in each period; -1 for no limit", metavar="N"
            ),
            Option("cpu-period", STR, "microseconds of one period", metavar="N"),
            Option("cpu-burst", STR, "microseconds of quota that may be saved up", metavar="N"),
            Option("cpu-idle", STR, "1: run only when nothing else wants to", metavar="N"),
            Option("cpu-rt-period", STR, "microseconds of one realtime period", metavar="N"),
            Option("cpu-rt-runtime", STR, "microseconds of realtime in each", metavar="N"),
            Option("cpuset-cpus", STR, "CPUs to run on, as in 0-3,7", metavar="LIST"),
            Option("cpuset-mems", STR, "memory nodes to use", metavar="LIST"),
            Option("blkio-weight", INT, "weight of its block I/O, 10 to 1000", metavar="N"),
            Option("l3-cache-schema", STR, "its share of the L3 cache", metavar="SCHEMA"),
            Option("mem-bw-schema", STR, "its share of memory bandwidth", metavar="SCHEMA"),
        ),
        Verb(
            "mounts",
            "add mounts to a running container, or remove them",
            "add|remove ID FILE",
            (3, 3),
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
            "print what a container uses, and when memory runs out",
            "ID",
            ID,
            Option(
                "interval",
                STR,
                "how often, as in 500ms, 5s, 1m30s",
                metavar="DURATION",
                default="5s",
            ),
            Option("stats", BOOL, "print once what it uses, and no more"),
        ),
        Verb(
            "top",
            "show what containers use, as a live table",
            "[ID...]",
            (0, -1),
            Option(
                "interval",
                STR,
                "how often, as in 500ms, 1s",
                metavar="DURATION",
                default="1s",
            ),
            Option("once", BOOL, "print once, after one interval"),
            _FORMAT,
        ),
        Verb("completion", "print a completion script for bash, zsh or fish", "SHELL", (1, 1)),
        Verb("version", "print the version", "", (0, 0)),
        Verb("init", "the inside of create; not for people", "", (0, -1), hidden=True, rest=True),
    )
}
