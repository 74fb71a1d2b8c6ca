"""The default seccomp profile of `ocirun spec --profile hardened`: an allow-list.

Made from the kernel's table of system calls: a call is listed if ordinary programs need it and its
manual page asks for no capability; the groups say what for. What is refused, and why, is in
docs/seccomp-profile.md, and a test checks that every call of the table is in one or the other.

Refused calls return EPERM, calls newer than all of these ENOSYS (docs/seccomp.md). The profile
names no architecture, so it holds for the native one, and calls of another (32-bit) kill the
process.

Source: docs/seccomp-profile.md; syscalls(2).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ocirun.spec.types import Seccomp, Syscall, SyscallArg

EPERM: Final = 1
ENOSYS: Final = 38

ALLOWED: Final = {
    "files: open, read, write": """
        access close close_range copy_file_range creat dup dup2 dup3 faccessat faccessat2 fadvise64
        fallocate fcntl fdatasync flock fstat fsync ftruncate getcwd getdents getdents64 ioctl lseek
        lstat newfstatat open openat openat2 pread64 preadv preadv2 pwrite64 pwritev pwritev2 read
        readahead readlink readlinkat readv sendfile stat statfs statx fstatfs sync sync_file_range
        syncfs truncate umask write writev splice tee vmsplice ustat
    """,
    "files: names, owners, modes, times, attributes": """
        chdir chmod chown fchdir fchmod fchmodat fchmodat2 fchown fchownat fgetxattr flistxattr
        fremovexattr fsetxattr futimesat getxattr lchown lgetxattr link linkat listxattr llistxattr
        lremovexattr lsetxattr mkdir mkdirat removexattr rename renameat renameat2 rmdir setxattr
        symlink symlinkat unlink unlinkat utime utimensat utimes
    """,
    "waiting for events": """
        epoll_create epoll_create1 epoll_ctl epoll_pwait epoll_pwait2 epoll_wait eventfd eventfd2
        inotify_add_watch inotify_init inotify_init1 inotify_rm_watch pause poll ppoll pselect6
        select signalfd signalfd4
    """,
    "asynchronous I/O of Linux 2.6": """
        io_cancel io_destroy io_getevents io_pgetevents io_setup io_submit
    """,
    "memory": """
        brk cachestat get_mempolicy madvise map_shadow_stack membarrier memfd_create mincore mlock
        mlock2 mlockall mmap mprotect mremap mseal msync munlock munlockall munmap pkey_alloc
        pkey_free pkey_mprotect remap_file_pages
    """,
    "processes and threads": """
        arch_prctl execve execveat exit exit_group fork futex futex_requeue futex_wait futex_waitv
        futex_wake get_robust_list get_thread_area getcpu getpgid getpgrp getpid getppid getpriority
        getrlimit getrusage getsid gettid kill pidfd_open pidfd_send_signal prctl prlimit64
        restart_syscall rseq set_robust_list set_thread_area set_tid_address setpgid setpriority
        setrlimit setsid tgkill times tkill vfork wait4 waitid
    """,
    "scheduling, as far as no capability is needed": """
        ioprio_get ioprio_set sched_get_priority_max sched_get_priority_min sched_getaffinity
        sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval sched_setaffinity
        sched_setattr sched_setparam sched_setscheduler sched_yield
    """,
    "signals": """
        rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend
        rt_sigtimedwait rt_tgsigqueueinfo sigaltstack
    """,
    "identity: the kernel's rules for changes hold": """
        capget capset getegid geteuid getgid getgroups getresgid getresuid getuid setfsgid setfsuid
        setgid setgroups setregid setresgid setresuid setreuid setuid
    """,
    "clocks and timers, to read and to wait": """
        alarm clock_getres clock_gettime clock_nanosleep getitimer gettimeofday nanosleep setitimer
        time timer_create timer_delete timer_getoverrun timer_gettime timer_settime timerfd_create
        timerfd_gettime timerfd_settime
    """,
    "pipes and sockets": """
        accept accept4 bind connect getpeername getsockname getsockopt listen pipe pipe2 recvfrom
        recvmmsg recvmsg sendmmsg sendmsg sendto setsockopt shutdown socketpair
    """,
    "System V and POSIX communication, which have namespaces": """
        mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedsend mq_unlink msgctl msgget msgrcv
        msgsnd semctl semget semop semtimedop shmat shmctl shmdt shmget
    """,
    "the machine, and randomness": "getrandom sysinfo uname",
    "confining oneself further": """
        landlock_add_rule landlock_create_ruleset landlock_restrict_self seccomp
    """,
    "the same calls on 32-bit machines": """
        _llseek _newselect arm_fadvise64_64 arm_sync_file_range breakpoint cacheflush
        chown32 clock_getres_time64 clock_gettime64 clock_nanosleep_time64 fadvise64_64
        fchown32 fcntl64 fstat64 fstatat64 fstatfs64 ftruncate64 futex_time64 getegid32
        geteuid32 getgid32 getgroups32 getresgid32 getresuid32 getuid32 io_pgetevents_time64
        lchown32 lstat64 mmap2 mq_timedreceive_time64 mq_timedsend_time64 ppoll_time64
        pselect6_time64 recv recvmmsg_time64 riscv_flush_icache rt_sigtimedwait_time64
        sched_rr_get_interval_time64 semtimedop_time64 send sendfile64 set_tls setfsgid32
        setfsuid32 setgid32 setgroups32 setregid32 setresgid32 setresuid32 setreuid32
        setuid32 sigaction sigpending sigprocmask sigreturn sigsuspend stat64 statfs64
        timer_gettime64 timer_settime64 timerfd_gettime64 timerfd_settime64 truncate64
        ugetrlimit utimensat_time64 waitpid
    """,
}

NEW_NAMESPACES: Final = 0x7E020000  # CLONE_NEW* of clone(2)
S_IFMT: Final = 0xF000
# Regular file (0 is one as well), pipe, socket: what mknod(2) makes without CAP_MKNOD.
PLAIN_NODES: Final = (0, 0x8000, 0x1000, 0xC000)
AF_UNIX, AF_INET, AF_INET6, AF_NETLINK = 1, 2, 10, 16
# PER_LINUX, PER_LINUX32 (uname -m of a 32-bit build), and the question which one holds.
PERSONALITIES: Final = (0x0, 0x8, 0xFFFFFFFF)


def default_profile() -> Seccomp:
    """Return the profile; nothing of it is shared with the next one."""
    names = sorted({name for group in ALLOWED.values() for name in group.split()})
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": EPERM,
        "syscalls": [
            {"names": names, "action": "SCMP_ACT_ALLOW"},
            _allow(["clone"], _masked(0, NEW_NAMESPACES, 0)),
            # Its flags are in memory, out of a filter's sight; C libraries go back to clone.
            {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": ENOSYS},
            *(_allow(["mknod"], _masked(1, S_IFMT, kind)) for kind in PLAIN_NODES),
            *(_allow(["mknodat"], _masked(2, S_IFMT, kind)) for kind in PLAIN_NODES),
            *(_allow(["personality"], _equal(0, value)) for value in PERSONALITIES),
            *(
                _allow(["socket"], _equal(0, family))
                for family in (AF_UNIX, AF_INET, AF_INET6, AF_NETLINK)
            ),
        ],
    }


def _allow(names: list[str], condition: SyscallArg) -> Syscall:
    return {"names": names, "action": "SCMP_ACT_ALLOW", "args": [condition]}


def _equal(index: int, value: int) -> SyscallArg:
    return {"index": index, "value": value, "op": "SCMP_CMP_EQ"}


def _masked(index: int, mask: int, value: int) -> SyscallArg:
    return {"index": index, "value": mask, "valueTwo": value, "op": "SCMP_CMP_MASKED_EQ"}
