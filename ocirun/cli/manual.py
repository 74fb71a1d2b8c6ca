"""What help and man page of a verb say beyond its options: description, examples, exit statuses.

`cli.help` prints it, `_build/manpages.py` makes roff of it. Options are not repeated here: they are
in `cli.verbs`.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Final

CHANGED: Final = "2026-11-28"  # the date that man pages carry
SUMMARY: Final = (
    "Run containers from OCI bundles: directories with a config.json and a root filesystem. "
    "A drop-in for runc."
)

_FAILED: Final = (("0", "success"), ("1", "failure; the reason is on stderr and in the log"))
_PROGRAM: Final = (
    ("N", "the exit status of the program, if the command waits for it"),
    ("128+N", "the program was ended by signal N"),
)


class Page:
    """The manual page of one verb.

    `description` has one string a paragraph, one that begins with spaces is printed as it is;
    `examples` are (command line, what it does), `statuses` (exit status, what it means).
    """

    __slots__ = ("description", "examples", "statuses")

    def __init__(
        self,
        *description: str,
        examples: Sequence[tuple[str, str]],
        statuses: Sequence[tuple[str, str]] = _FAILED,
    ) -> None:
        self.description = description
        self.examples = examples
        self.statuses = statuses


PAGES: Final = {
    "create": Page(
        "Create the container ID from the bundle: read and check config.json, make namespaces, "
        "cgroup, root filesystem and devices, and stop before the program. `ocirun start ID` "
        "starts it.",
        "The standard streams of this command become those of the program. With "
        '"terminal": true, --console-socket has to name the socket that receives the terminal.',
        examples=(
            ("ocirun create --bundle /srv/web web", "create the container web"),
            ("ocirun create -b . --pid-file web.pid web", "and write the pid of its init"),
        ),
    ),
    "run": Page(
        "Create the container ID, start its program, wait for it, and delete the container. With "
        "--detach, return once the program has started and leave the container.",
        "A bundle is a directory with a config.json and the root filesystem that it names. ocirun "
        "does not pull images: skopeo and umoci, or `docker export`, make a root filesystem.",
        examples=(
            ("ocirun run --bundle bundles/hello hello", "run a bundle and wait for its end"),
            ("ocirun run -d --pid-file p --bundle . web", "run it in the background"),
        ),
        statuses=(*_PROGRAM, ("1", "the container could not be created or started")),
    ),
    "try": Page(
        "Run COMMAND in a new container over this machine's own programs, or over the root "
        "filesystem in DIR (--root), and remove the container when it ends. What it writes goes to "
        "an overlay in memory and is gone afterwards; of the caller's files only those of --volume "
        "are shown. It works for root and for ordinary users.",
        "COMMAND is looked up in the PATH of the container. Its environment is PATH, TERM, HOME "
        "and what --env adds.",
        examples=(
            ("ocirun try -- ls /", "this machine's programs, in a container"),
            ("ocirun try -it -- bash", "a shell to break things in"),
            ("ocirun try --diff -- sh -c 'rm /etc/passwd'", "and list what was written"),
            ("ocirun try -v /src:/src:ro -w /src -- make -n", "with one directory of the host"),
            ("ocirun try --root rootfs --bundle box -- sh", "write it as a bundle"),
        ),
        statuses=(*_PROGRAM, ("1", "the container could not be created or started")),
    ),
    "convert": Page(
        "Read FROM and write TO, which must not exist yet. A directory or a config.json is an OCI "
        "bundle, container.json that of libcontainer 0.11, and `config`, *.conf and *.lxc are "
        "LXC's configuration. What has no counterpart in the other format is printed, a line each.",
        examples=(
            ("ocirun convert box box.conf", "a bundle as an LXC configuration"),
            ("ocirun convert /var/lib/lxc/web/config web", "and back"),
            ("ocirun convert --rootfs web/rootfs container.json web", "of an old Docker"),
        ),
        statuses=(*_FAILED, ("1", "with --strict: something has no counterpart")),
    ),
    "start": Page(
        "Start the program of a container that `ocirun create` made. Each container is started "
        "once.",
        examples=(("ocirun start web", "start the program of web"),),
    ),
    "state": Page(
        "Print the state of a container: id, status (creating, created, running, paused or "
        "stopped), pid of its init, bundle and annotations.",
        examples=(("ocirun state web", "print the state of web"),),
    ),
    "kill": Page(
        "Send SIGNAL to the init process of a container. SIGNAL is a name with or without SIG, or "
        "a number.",
        examples=(
            ("ocirun kill web", "send SIGTERM"),
            ("ocirun kill web KILL", "send SIGKILL"),
            ("ocirun kill --all web 9", "to every process of the container"),
        ),
    ),
    "delete": Page(
        "Delete a container that has stopped: its cgroup, its state directory, and what else was "
        "made for it. The bundle and its root filesystem stay. poststop hooks are run.",
        "With --force a container that runs is killed first, and one that does not exist is no "
        "error.",
        examples=(
            ("ocirun delete web", "delete a stopped container"),
            ("ocirun delete --force web", "kill it first"),
        ),
    ),
    "list": Page(
        "List the containers of the state directory (--root before the verb chooses it).",
        examples=(
            ("ocirun list", "print a table"),
            ("ocirun list --format json", "for programs"),
            ("ocirun list --quiet", "only the ids"),
        ),
    ),
    "spec": Page(
        "Write a config.json to begin with: `sh` in a root filesystem at rootfs, with new "
        "namespaces and few capabilities. A file that exists is not overwritten.",
        examples=(
            ("ocirun spec", "write ./config.json"),
            ("ocirun spec --rootless --bundle b", "for a user without privileges"),
        ),
    ),
    "features": Page(
        "Print what this runtime can do, as the OCI features document: namespaces, mount options, "
        "hooks, cgroups, seccomp, annotations.",
        examples=(("ocirun features", "print the document"),),
    ),
    "doctor": Page(
        "Check what containers of the calling user may use on this host: kernel, cgroups, user "
        "namespaces, seccomp, LSMs, CRIU. Nothing is changed.",
        examples=(("ocirun doctor", "print findings and remedies"),),
        statuses=(("0", "this user can run containers"), ("1", "this user can run none")),
    ),
    "validate": Page(
        "Check the configuration of a bundle and print every rule that it breaks. No container is "
        "created.",
        examples=(
            ("ocirun validate bundles/hello", "check bundles/hello/config.json"),
            ("ocirun validate --format json .", "for programs"),
        ),
        statuses=(("0", "no rule is broken"), ("1", "rules are broken, or the file is missing")),
    ),
    "audit": Page(
        "Show what a process in the container would hold: of a bundle by its config.json, of a "
        "running container by what the kernel says, with the differences between the two. A word "
        "with a slash, or `.`, is a bundle or its config.json; another is the id of a container, "
        "or a directory if there is no such container.",
        "Each finding has a grade (critical, high, medium, low, note), the name of a rule, one "
        "sentence, the place in config.json that closes it, the remedy, and what that breaks. "
        "docs/audit.md has all rules. The init of a running container is stopped for a moment to "
        "read its seccomp filters.",
        examples=(
            ("ocirun audit ./box", "audit box/config.json"),
            ("ocirun audit --fail-on high ./box", "for continuous integration"),
            ("ocirun audit --format json web", "a running container, for programs"),
        ),
        statuses=(
            ("0", "success; with --fail-on: nothing is as bad as GRADE"),
            ("1", "failure; the reason is on stderr and in the log"),
            ("2", "with --fail-on: a finding is as bad as GRADE, or worse"),
        ),
    ),
    "exec": Page(
        "Run one more process in a container. It gets the environment, user and directory of the "
        "container's process unless options or --process say otherwise.",
        "Options of ocirun stand before ID; what follows it belongs to COMMAND.",
        examples=(
            ("ocirun exec web ps", "run ps in web"),
            ("ocirun exec -t web sh", "a shell with a terminal"),
            ("ocirun exec --user 1000:1000 --env A=1 web id", "as another user"),
            ("ocirun exec --process p.json web", "the process as OCI JSON"),
        ),
        statuses=(*_PROGRAM, ("255", "the process could not be started")),
    ),
    "checkpoint": Page(
        "Write the memory, open files and other state of a container to a directory with CRIU, and "
        "stop the container. `ocirun restore` continues it.",
        examples=(
            ("ocirun checkpoint --image-path /tmp/c web", "checkpoint and stop web"),
            ("ocirun checkpoint --leave-running web", "and let it run on"),
        ),
    ),
    "restore": Page(
        "Create the container ID from a checkpoint, with the bundle it was checkpointed from.",
        examples=(("ocirun restore -d --image-path /tmp/c -b . web", "restore web in background"),),
        statuses=(*_PROGRAM, ("1", "the container could not be restored")),
    ),
    "pause": Page(
        "Suspend all processes of a container with the freezer of its cgroup.",
        examples=(("ocirun pause web", "suspend web"),),
    ),
    "resume": Page(
        "Resume the processes of a paused container.",
        examples=(("ocirun resume web", "resume web"),),
    ),
    "update": Page(
        "Change the limits of a container that is there, by flags or by a JSON file (--resources) "
        "of this form, where each member is optional:",
        '  {"memory": {"limit": 268435456, "reservation": 0, "swap": 0},\n'
        '   "cpu": {"shares": 512, "quota": 50000, "period": 100000,\n'
        '           "cpus": "0-1", "mems": "0"},\n'
        '   "blockIO": {"weight": 100},\n'
        '   "pids": {"limit": 100}}',
        examples=(
            ("ocirun update --memory 256m --pids-limit 100 web", "by flags"),
            ("ocirun update --resources limits.json web", "by a file"),
            ("ocirun update --resources - web < limits.json", "from standard input"),
        ),
    ),
    "mounts": Page(
        "Add mounts to a running container, or remove them. FILE is a JSON array of mounts as in "
        "config.json; `remove` uses the destinations only:",
        '  [{"destination": "/data", "type": "bind", "source": "/srv/data",\n'
        '    "options": ["rbind", "ro"]}]',
        examples=(
            ("ocirun mounts add web mounts.json", "mount all of them, or none"),
            ("ocirun mounts remove web mounts.json", "unmount them"),
        ),
    ),
    "net": Page(
        "Show which container holds which network device, address and port, by the annotation "
        "org.ocirun.networks and by linux.netDevices: `ls` those of all containers, `inspect` all "
        "that is recorded about one.",
        "`prune` removes what a power cut or a lost record has left: networks of stopped "
        "containers, network devices, bridges and nftables tables that were made for this state "
        "root and that no container has, and sysctls that were set for them. It prints what it "
        "removed, and touches nothing else.",
        examples=(
            ("ocirun net ls", "the networks of all containers"),
            ("ocirun net inspect --format json web", "those of one, as JSON"),
            ("ocirun net prune", "remove what nobody has any more"),
        ),
    ),
    "ps": Page(
        "List the processes of a container. Words after ID go to ps(1), whose lines are then "
        "filtered.",
        examples=(
            ("ocirun ps web", "print a table"),
            ("ocirun ps --format json web", "only the pids"),
            ("ocirun ps web -o pid,args", "with options of ps"),
        ),
    ),
    "events": Page(
        "Print the statistics of a container as lines of JSON until it ends, and a line when it "
        "runs out of memory.",
        examples=(
            ("ocirun events web", "every five seconds"),
            ("ocirun events --stats web", "once"),
        ),
    ),
    "top": Page(
        "Show CPU, memory, pids and I/O of the named containers, or of all, until it is "
        "interrupted.",
        examples=(("ocirun top", "all containers"), ("ocirun top --once web", "one, once")),
    ),
    "trace": Page(
        "Show what `ocirun --trace FILE VERB …` has recorded: `view` prints the slowest steps and "
        "system calls, and with --output writes a page of HTML, which needs no network. It has "
        "each process, the messages between them, and for each step what it does, the section of "
        "the runtime specification, the file that does it, and its system calls.",
        "Several traces, of `create` and of `start` for example, are shown one after the other. "
        "FILE is in the Trace Event Format: ui.perfetto.dev and chrome://tracing open it, too.",
        "A trace has paths, command lines and names of hooks, but no environment variables and no "
        "contents of files. It is readable by its owner alone. A FILE that exists is overwritten "
        "only if it is a trace.",
        examples=(
            ("ocirun --trace web.json run --bundle . web", "record a container's life"),
            ("ocirun trace view web.json -o web.html", "print a summary and write the page"),
        ),
    ),
    "snapshot": Page(
        "Make the image from which ocirun starts without waiting for Python. A package calls it "
        "after it has been installed. Nothing else depends on the image: without one, ocirun "
        "starts as any Python program.",
        examples=(("ocirun snapshot", "make the image and print its path"),),
    ),
    "completion": Page(
        "Print a completion script for SHELL: bash, zsh or fish.",
        examples=(
            ('eval "$(ocirun completion bash)"', "for this shell"),
            ("ocirun completion fish > ~/.config/fish/completions/ocirun.fish", "for good"),
        ),
    ),
    "version": Page(
        "Print the version of ocirun, of the runtime specification and of Python, and what is "
        "built in.",
        examples=(("ocirun version", "print them"),),
    ),
    "help": Page(
        "Show the verbs, or how VERB is used.",
        examples=(("ocirun help run", "show the help of run"),),
        statuses=(("0", "success"), ("3", "there is no such verb")),
    ),
}
