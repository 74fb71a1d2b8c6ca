"""The system calls that a trace records, and what of their arguments.

Security: only what is named here is recorded. An argument without a kind is left out; of data
(what is written to a file, environment variables, keys) no more than the size is known. So a new
call shows nothing until somebody has decided what it may show.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

# function of kernel/_native, system call, arguments as name:kind, "=" and the kind of the result.
#
#   fd            a descriptor, shown with what it is open on
#   path          text, shown
#   int hex oct   a number
#   size          bytes, of which the length is shown
#   option data   a mount option's value, or many options: hidden if a name suggests a secret
#   O_ MS_ …      flags of that family, decoded
#   -             left out
NATIVE: Final = """
mount                mount            source:path target:path type:path flags:MS_ data:data
umount2              umount2          target:path flags:MNT_
sys_pivot_root       pivot_root       new_root:path put_old:path
sys_openat2          openat2          dirfd:fd path:path flags:O_ mode:oct resolve:RESOLVE_ = fd
sys_open_tree        open_tree        dirfd:fd path:path flags:OPEN_TREE_ = fd
sys_move_mount       move_mount       from_dirfd:fd from_path:path to_dirfd:fd to_path:path \
                     flags:hex
sys_fsopen           fsopen           fs_name:path flags:FSOPEN_ = fd
sys_fsconfig         fsconfig         fd:fd command:FSCONFIG key:path value:option aux:int
sys_fsmount          fsmount          fd:fd flags:FSMOUNT_ attributes:MOUNT_ATTR_ = fd
sys_mount_setattr    mount_setattr    dirfd:fd path:path flags:AT_ attr_set:MOUNT_ATTR_ \
                     attr_clr:MOUNT_ATTR_ propagation:MS_ userns_fd:int
sys_fstatfs          fstatfs          fd:fd -
sys_magic            fstatfs          fd:fd
sys_mount_id         statx            fd:fd
inotify_init1        inotify_init1    flags:hex = fd
inotify_add_watch    inotify_add_watch fd:fd path:path mask:hex
sys_clone3           clone3           flags:CLONE_ cgroup:fd -
sys_hold_userns      clone3           userns:fd - -
sys_lock_mounts      clone3           tmpfs:fd - mounts:int -
sys_hold             clone3           -
sys_accompany        clone3           - - - - - -
unshare              unshare          flags:CLONE_
setns                setns            fd:fd nstype:CLONE_
sys_setgroups        setgroups        - count:int
prlimit_set          prlimit64        pid:int resource:int soft:int hard:int
prlimit_get          prlimit64        pid:int resource:int -
reset_signals        rt_sigaction     ends_too:int
reset_affinity       sched_setaffinity
sys_close_range      close_range      first:int last:int flags:hex
close_each           close            first:int last:int -
sys_may_execute      faccessat2       path:path
sys_sched_setattr    sched_setattr    size:int policy:int flags:hex nice:int priority:int \
                     runtime:int deadline:int period:int
sys_ioprio_set       ioprio_set       which:int who:int ioprio:hex
personality          personality      persona:hex
sys_set_mempolicy    set_mempolicy    mode:int - maxnode:int
sethostname          sethostname      name:path -
setdomainname        setdomainname    name:path -
prctl                prctl            option:PR_ arg2:int arg3:int - -
drop_bounding_set    prctl            kept:hex last:int
sys_capset           capset           -
sys_capget           capget           -
sys_getres           getresuid        -
sys_keyctl           keyctl           operation:KEYCTL_ - - - -
sys_seccomp_filter   seccomp          flags:hex filter:size -
sys_pidfd_getfd      pidfd_getfd      pidfd:fd fd:int = fd
sys_landlock_create_ruleset landlock_create_ruleset fs:hex net:hex scoped:hex - = fd
sys_landlock_abi     landlock_create_ruleset
sys_landlock_add_path landlock_add_rule ruleset:fd path:fd access:hex
sys_landlock_add_port landlock_add_rule ruleset:fd port:int access:hex
sys_landlock_restrict_self landlock_restrict_self ruleset:fd
sys_bpf              bpf              command:int - size:int = fd
"""

# The same of functions of `os`. Keywords (dir_fd, follow_symlinks) are recorded if numbers.
PYTHON: Final = """
open                 openat           path:path flags:O_ mode:oct = fd
close                close            fd:fd
read                 read             fd:fd size:int
write                write            fd:fd data:size
mkdir                mkdir            path:path mode:oct
mkfifo               mkfifo           path:path mode:oct
mknod                mknod            path:path mode:oct device:hex
rmdir                rmdir            path:path
unlink               unlink           path:path
rename               rename           from:path to:path
link                 link             from:path to:path
symlink              symlink          target:path path:path
readlink             readlink         path:path
stat                 stat             path:path
lstat                lstat            path:path
fstat                fstat            fd:fd
listdir              getdents64       path:path
chdir                chdir            path:path
fchdir               fchdir           fd:fd
chroot               chroot           path:path
chmod                chmod            path:path mode:oct
fchmod               fchmod           fd:fd mode:oct
chown                chown            path:path uid:int gid:int
fchown               fchown           fd:fd uid:int gid:int
umask                umask            mask:oct
dup                  dup              fd:fd = fd
dup2                 dup2             from:fd to:int
pipe                 pipe2
pipe2                pipe2            flags:O_
memfd_create         memfd_create     name:path flags:hex = fd
pidfd_open           pidfd_open       pid:int flags:hex = fd
setsid               setsid
setuid               setuid           uid:int
setgid               setgid           gid:int
setresuid            setresuid        ruid:int euid:int suid:int
setresgid            setresgid        rgid:int egid:int sgid:int
kill                 kill             pid:int signal:int
waitpid              wait4            pid:int options:hex
waitid               waitid           kind:int id:int options:hex
posix_spawn          posix_spawn      path:path args:args env:count
execve               execve           path:path args:args env:count
_exit                exit_group       status:int
"""
# What does not return when it succeeds: recorded before, too.
FINAL: Final = ("execve", "_exit")


class Traced:
    """One row of a table: the function's name, the system call's, (name, kind) of each argument."""

    __slots__ = ("arguments", "function", "name", "result")

    def __init__(self, row: str) -> None:
        front, _, self.result = (part.strip() for part in row.partition(" = "))
        self.function, self.name, *arguments = front.split()
        parts = [word.partition(":") for word in arguments]
        self.arguments = [(word, kind) for word, _, kind in parts]


def read_table(text: str) -> dict[str, Traced]:
    """Return the rows of NATIVE or PYTHON by the name of their function."""
    rows = [Traced(line) for line in text.splitlines() if line]
    return {row.function: row for row in rows}
