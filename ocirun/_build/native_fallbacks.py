"""C for when a system call is kept from us: what does the same, or how to find that out.

Part of the source of native.py.
"""

from __future__ import annotations

SOURCE = r"""
#ifndef SYS_faccessat2
#define SYS_faccessat2 439
#endif

/* clone3, or clone where a filter around us refuses clone3: that of Docker by ENOSYS, because it
   cannot look at flags behind a pointer. clone has no bits for CLONE_INTO_CGROUP and
   CLONE_NEWTIME. */
static int clone_process(struct clone_args *args)
{
    int error, pid = (int)syscall(SYS_clone3, args, sizeof *args);

    if (pid >= 0 || (errno != ENOSYS && errno != EPERM) || (args->flags & ~0xffffff00ULL))
        return pid;
    error = errno;
#ifdef __s390x__
    pid = (int)syscall(SYS_clone, 0UL, args->flags | args->exit_signal, args->pidfd, 0UL, 0UL);
#else
    pid = (int)syscall(SYS_clone, args->flags | args->exit_signal, 0UL, args->pidfd, 0UL, 0UL);
#endif
    if (pid < 0 && errno == ENOSYS)
        errno = error;
    return pid;
}

/* The C library starts threads and posix_spawn's children by clone3, and by clone only where clone3
   says ENOSYS. Kernel: of two filters that refuse a call, the errno of the younger one counts. Ours
   refuses what is refused already, for this thread and what it starts. 1: now it is ENOSYS. */
static int have_clone3_say_enosys(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone3, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = { sizeof code / sizeof *code, code };

    if (syscall(SYS_clone3, -1L, 0L) == 0 || errno != EPERM)
        return 0;
    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) == 0;
}

/* What close_range does, without it: one descriptor after the other. Those above the soft limit
   were opened before somebody lowered it; a million is as far as we look for them. */
static int close_each(unsigned int first, unsigned int last, unsigned int flags)
{
    struct rlimit64 limit = { 0, 0 };
    unsigned int end = 1U << 20;

    if (syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, NULL, &limit) == 0 && limit.rlim_max < end)
        end = (unsigned int)limit.rlim_max;
    for (unsigned int fd = first; fd < end && fd <= last; fd++)
        if (flags)
            syscall(SYS_fcntl, fd, F_SETFD, FD_CLOEXEC);
        else
            syscall(SYS_close, fd);
    return 0;
}

static int sys_may_execute(const char *path)
{
    return (int)syscall(SYS_faccessat2, AT_FDCWD, path, X_OK, AT_EACCESS);
}

/* Is the call missing or refused, whatever its arguments? These make no sense in any of them, and
   are found to only after the call has been let through. A 0 means as well: nobody can tell,
   because mounting is forbidden to us anyway. */
static int is_unavailable(const char *call)
{
    static const struct { const char *name; long number; int mounts; } calls[] = {
        { "openat2", SYS_openat2, 0 },       { "open_tree", SYS_open_tree, 0 },
        { "move_mount", SYS_move_mount, 1 }, { "fsopen", SYS_fsopen, 1 },
        { "fsconfig", SYS_fsconfig, 0 },     { "fsmount", SYS_fsmount, 1 },
        { "mount_setattr", SYS_mount_setattr, 0 }, { "clone3", SYS_clone3, 0 },
    };

    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        if (strcmp(call, calls[i].name) != 0)
            continue;
        if (syscall(calls[i].number, -1L, 0L, -1L, 0L, 0L) >= 0)
            return 0;
        if (errno == ENOSYS)
            return 1;
        if (errno != EPERM)
            return 0;
        /* Kernel: without CAP_SYS_ADMIN over the mount namespace it is EPERM before all else, and
           so with pivot_root. */
        return !calls[i].mounts || syscall(SYS_pivot_root, "", "") == 0 || errno != EPERM;
    }
    return 0;
}
"""
