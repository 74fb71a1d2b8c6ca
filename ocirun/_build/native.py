"""Write the C source of `ocirun.kernel._native`, the one compiled module that calls the kernel.

cffi in API mode with the limited ABI: the compiler checks every call against the headers, and one
build serves every Python from 3.11 on. The `sys_` functions are calls that the C library has no
wrapper for, or wraps in a way that hides the flags. Their Python faces, with docstrings and
errors, are the modules of `ocirun/kernel/`.

Run by meson: `python native.py OUTPUT.c`.
"""

from __future__ import annotations

import sys

from cffi import FFI
from native_companions import SOURCE as COMPANIONS  # type: ignore[import-not-found]
from native_fallbacks import SOURCE as FALLBACKS  # type: ignore[import-not-found]  # beside this file
from native_landlock import SOURCE as LANDLOCK  # type: ignore[import-not-found]
from native_locks import SOURCE as LOCKS  # type: ignore[import-not-found]
from native_settings import SOURCE as SETTINGS  # type: ignore[import-not-found]
from native_traces import SOURCE as TRACES  # type: ignore[import-not-found]

CDEF = """
int mount(const char *source, const char *target, const char *type, unsigned long flags,
          const char *data);
int umount2(const char *target, int flags);
int sys_pivot_root(const char *new_root, const char *put_old);
int sys_openat2(int dirfd, const char *path, uint64_t flags, uint64_t mode, uint64_t resolve);
int sys_open_tree(int dirfd, const char *path, unsigned int flags);
int sys_move_mount(int from_dirfd, const char *from_path, int to_dirfd, const char *to_path,
                   unsigned int flags);
int sys_fsopen(const char *fs_name, unsigned int flags);
int sys_fsconfig(int fs_fd, unsigned int command, const char *key, const char *value, int aux);
int sys_fsmount(int fs_fd, unsigned int flags, unsigned int attributes);
int sys_mount_setattr(int dirfd, const char *path, unsigned int flags, uint64_t attr_set,
                      uint64_t attr_clr, uint64_t propagation, uint64_t userns_fd);
int sys_fstatfs(int fd, int64_t *magic_and_flags);
int64_t sys_magic(int fd);
int64_t sys_mount_id(int fd);
int inotify_init1(int flags);
int inotify_add_watch(int fd, const char *path, uint32_t mask);

int sys_clone3(uint64_t flags, int cgroup_fd, int *pidfd);
int sys_hold_userns(int join_fd, int ready_fd, int *pidfd);
int sys_lock_mounts(int tmpfs_fd, const int *mount_fds, int count, int *pidfd);
int sys_hold(int *pidfd);
int sys_accompany(const int *fds, const int *kept, int kept_count, const char *texts,
                  int binds, int arguments);
int unshare(int flags);
int setns(int fd, int nstype);
int sys_setgroups(const uint32_t *gids, size_t count);
int prlimit_set(int pid, int resource, uint64_t soft, uint64_t hard);
int prlimit_get(int pid, int resource, uint64_t *soft_and_hard);
int reset_signals(int ends_too);
int forget_arguments(const char *title, size_t length);
int wipe(const char *text, size_t length);
int forbid_libm(void);
int reset_affinity(void);
int sys_close_range(unsigned int first, unsigned int last, unsigned int flags);
int close_each(unsigned int first, unsigned int last, unsigned int flags);
int is_unavailable(const char *call);
int have_clone3_say_enosys(void);
int sys_may_execute(const char *path);
int sys_sched_setattr(uint32_t size, uint32_t policy, uint64_t flags, int32_t nice,
                      uint32_t priority, uint64_t runtime, uint64_t deadline, uint64_t period);
int sys_ioprio_set(int which, int who, int ioprio);
int personality(unsigned long persona);
int sys_set_mempolicy(int mode, const unsigned long *nodemask, unsigned long maxnode);
int sethostname(const char *name, size_t length);
int setdomainname(const char *name, size_t length);

int prctl(int option, unsigned long arg2, unsigned long arg3, unsigned long arg4,
          unsigned long arg5);
int drop_bounding_set(uint64_t kept, int last);
int sys_capset(const uint32_t *six_words);
int sys_capget(uint32_t *six_words);
int sys_getres(uint32_t *six_ids);
long sys_keyctl(int operation, unsigned long arg2, unsigned long arg3, unsigned long arg4,
                unsigned long arg5);
int sys_seccomp_filter(unsigned int flags, const char *program, size_t length);
int sys_pidfd_getfd(int pidfd, int fd);
int sys_landlock_create_ruleset(uint64_t fs, uint64_t net, uint64_t scoped, size_t size);
int sys_landlock_abi(void);
int sys_landlock_add_path(int ruleset_fd, int path_fd, uint64_t access);
int sys_landlock_add_port(int ruleset_fd, uint64_t port, uint64_t access);
int sys_landlock_restrict_self(int ruleset_fd);
long sys_ptrace(unsigned long request, int pid, unsigned long address, unsigned long data);
void *dlopen(const char *name, int mode);
void *dlsym(void *library, const char *name);
int sys_bpf(int command, void *attributes, unsigned int size);
"""

MOUNTS = r"""
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/openat2.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/inotify.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>

/* System call numbers that are the same on every architecture since 5.1, for older headers. */
#ifndef SYS_open_tree
#define SYS_open_tree 428
#define SYS_move_mount 429
#define SYS_fsopen 430
#define SYS_fsconfig 431
#define SYS_fsmount 432
#endif
#ifndef SYS_clone3
#define SYS_clone3 435
#endif
#ifndef SYS_close_range
#define SYS_close_range 436
#endif
#ifndef SYS_openat2
#define SYS_openat2 437
#endif
#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif
#ifndef SYS_faccessat2
#define SYS_faccessat2 439
#endif
#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444
#define SYS_landlock_add_rule 445
#define SYS_landlock_restrict_self 446
#endif
#ifndef SYS_mount_setattr
#define SYS_mount_setattr 442
#endif

struct native_mount_attr {
    uint64_t attr_set, attr_clr, propagation, userns_fd;
};

static int sys_pivot_root(const char *new_root, const char *put_old)
{
    return (int)syscall(SYS_pivot_root, new_root, put_old);
}

static int sys_openat2(int dirfd, const char *path, uint64_t flags, uint64_t mode,
                       uint64_t resolve)
{
    struct open_how how = { .flags = flags, .mode = mode, .resolve = resolve };
    return (int)syscall(SYS_openat2, dirfd, path, &how, sizeof how);
}

static int sys_open_tree(int dirfd, const char *path, unsigned int flags)
{
    return (int)syscall(SYS_open_tree, dirfd, path, flags);
}

static int sys_move_mount(int from_dirfd, const char *from_path, int to_dirfd,
                          const char *to_path, unsigned int flags)
{
    return (int)syscall(SYS_move_mount, from_dirfd, from_path, to_dirfd, to_path, flags);
}

static int sys_fsopen(const char *fs_name, unsigned int flags)
{
    return (int)syscall(SYS_fsopen, fs_name, flags);
}

static int sys_fsconfig(int fs_fd, unsigned int command, const char *key, const char *value,
                        int aux)
{
    return (int)syscall(SYS_fsconfig, fs_fd, command, key, value, aux);
}

static int sys_fsmount(int fs_fd, unsigned int flags, unsigned int attributes)
{
    return (int)syscall(SYS_fsmount, fs_fd, flags, attributes);
}

static int sys_mount_setattr(int dirfd, const char *path, unsigned int flags, uint64_t attr_set,
                             uint64_t attr_clr, uint64_t propagation, uint64_t userns_fd)
{
    struct native_mount_attr attr = { attr_set, attr_clr, propagation, userns_fd };
    return (int)syscall(SYS_mount_setattr, dirfd, path, flags, &attr, sizeof attr);
}

/* magic_and_flags: the file system's magic number, then its ST_* mount flags. */
static int sys_fstatfs(int fd, int64_t *magic_and_flags)
{
    struct statfs buffer;
    if (fstatfs(fd, &buffer) < 0)
        return -1;
    magic_and_flags[0] = (int64_t)buffer.f_type;
    magic_and_flags[1] = (int64_t)buffer.f_flags;
    return 0;
}

static int64_t sys_magic(int fd)
{
    struct statfs buffer;
    return fstatfs(fd, &buffer) < 0 ? -1 : (int64_t)buffer.f_type;
}

#ifndef STATX_MNT_ID
#define STATX_MNT_ID 0x1000U
#endif

static int64_t sys_mount_id(int fd)
{
    struct statx buffer;
    if (statx(fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &buffer) < 0)
        return -1;
    if (!(buffer.stx_mask & STATX_MNT_ID)) { /* glibc's substitute, where a filter says ENOSYS */
        errno = ENOSYS;
        return -1;
    }
    return (int64_t)buffer.stx_mnt_id;
}

"""

PROCESSES = r"""
/* A fork with clone3's flags. The caller has one thread, so the child may carry on in Python: no
   lock of the interpreter is held by a thread that is not there. */
static int sys_clone3(uint64_t flags, int cgroup_fd, int *pidfd)
{
    struct clone_args args;
    memset(&args, 0, sizeof args);
    args.flags = flags;
    args.exit_signal = (flags & CLONE_PARENT) ? 0 : SIGCHLD;
    if (flags & CLONE_PIDFD)
        args.pidfd = (uint64_t)(uintptr_t)pidfd;
#ifdef CLONE_INTO_CGROUP
    if (flags & CLONE_INTO_CGROUP)
        args.cgroup = (uint64_t)cgroup_fd;
#else
    (void)cgroup_fd;
#endif
    return clone_process(&args);
}

/* A child that is in a user namespace, a new one or that of join_fd, until it is killed. Joining,
   it writes its errno to ready_fd (0: done). A program with threads may call this: the child makes
   nothing but system calls. No signal tells of its end, and only waiting for clones finds it. */
static int sys_hold_userns(int join_fd, int ready_fd, int *pidfd)
{
    struct clone_args args;
    int pid, parent = getpid(), error = 0;

    memset(&args, 0, sizeof args);
    args.flags = CLONE_PIDFD | (join_fd < 0 ? CLONE_NEWUSER : 0);
    args.pidfd = (uint64_t)(uintptr_t)pidfd;
    pid = clone_process(&args);
    if (pid != 0)
        return pid;
    syscall(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    if (syscall(SYS_getppid) != parent) /* it has died already */
        syscall(SYS_exit_group, 0);
    if (join_fd >= 0) {
        syscall(SYS_prctl, PR_SET_DUMPABLE, 0, 0, 0, 0);
        if (syscall(SYS_setns, join_fd, CLONE_NEWUSER) < 0)
            error = errno;
        syscall(SYS_write, ready_fd, &error, sizeof error);
    }
    for (;;)
        pause();
}

/* A child that only waits, until it is killed or the thread that made it is gone. It keeps nothing
   open. As above: only system calls, no signal at its end, and only waiting for clones finds it. */
static int sys_hold(int *pidfd)
{
    struct clone_args args;
    sigset_t all;
    int pid, parent = getpid();

    memset(&args, 0, sizeof args);
    args.flags = CLONE_PIDFD;
    args.pidfd = (uint64_t)(uintptr_t)pidfd;
    sigfillset(&all);
    pid = clone_process(&args);
    if (pid != 0)
        return pid;
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, NULL, (_NSIG - 1) / 8);
    syscall(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    if (syscall(SYS_getppid) != parent) /* it has died already */
        syscall(SYS_exit_group, 0);
    if (syscall(SYS_close_range, 0U, ~0U, 0U) < 0)
        close_each(0, ~0U, 0);
    for (;;)
        pause();
}

static int sys_setgroups(const uint32_t *gids, size_t count)
{
    return (int)syscall(SYS_setgroups, count, gids);
}

static int prlimit_set(int pid, int resource, uint64_t soft, uint64_t hard)
{
    struct rlimit64 limit = { soft, hard };
    return (int)syscall(SYS_prlimit64, pid, resource, &limit, NULL);
}
"""

SOURCE = MOUNTS + FALLBACKS + PROCESSES + TRACES + SETTINGS + COMPANIONS + LANDLOCK + LOCKS


def main(output: str) -> None:
    """Write the C source of the extension to `output`."""
    builder = FFI()
    builder.cdef(CDEF)
    builder.set_source("ocirun.kernel._native", SOURCE, py_limited_api=True)
    builder.emit_c_code(output)


if __name__ == "__main__":
    main(sys.argv[1])
