"""A part of native.py: copies of mounts whose flags the kernel has locked.

    caller ─ clone, CLONE_FILES ─► child: a mount namespace with the mounts in it
                                   child: a user namespace, and a copy of that mount namespace
                                   child: copies of the copies, in the caller's descriptors

Nothing in here but system calls: the caller may have threads.

Source: mount_namespaces(7), "Restrictions on mount namespaces"; open_tree(2), move_mount(2).
"""

from __future__ import annotations

SOURCE = r"""
/* Detached mounts are attached below the tmpfs as 0, 1, … */
static void lock_names(int place, char name[12])
{
    char digits[12];
    int count = 0, at = 0;

    do {
        digits[count++] = (char)('0' + place % 10);
        place /= 10;
    } while (place);
    while (count)
        name[at++] = digits[--count];
    name[at] = '\0';
}

static int lock_attach(int mount_fd, const char *place, int flags)
{
    int target_fd = (int)syscall(SYS_openat, AT_FDCWD, place, O_PATH | O_CLOEXEC | flags, 0);
    long result;

    if (target_fd < 0)
        return -1;
    /* MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH */
    result = syscall(SYS_move_mount, mount_fd, "", target_fd, "", 0x44);
    syscall(SYS_close, target_fd);
    return (int)result;
}

static int lock_in_child(int tmpfs_fd, const int *mount_fds, int count)
{
    char name[12];
    struct stat found;
    int place;
    long result;

    if (syscall(SYS_unshare, CLONE_NEWNS) < 0
        || syscall(SYS_mount, "", "/", "", MS_REC | MS_PRIVATE, "") < 0
        /* Kernel: not over the root, which would count as a chroot, without a right to a user
           namespace. */
        || lock_attach(tmpfs_fd, "/proc", O_DIRECTORY) < 0
        || syscall(SYS_fchdir, tmpfs_fd) < 0)
        return -1;
    for (place = 0; place < count; place++) {
        lock_names(place, name);
        if (fstat(mount_fds[place], &found) < 0)
            return -1;
        result = S_ISDIR(found.st_mode) ? syscall(SYS_mkdirat, AT_FDCWD, name, 0755)
                                        : syscall(SYS_mknodat, AT_FDCWD, name, S_IFREG | 0644, 0);
        if (result < 0 || lock_attach(mount_fds[place], name, O_NOFOLLOW) < 0)
            return -1;
    }
    if (syscall(SYS_unshare, CLONE_NEWUSER | CLONE_NEWNS) < 0)
        return -1;
    for (place = 0; place < count; place++) {
        lock_names(place, name);
        /* OPEN_TREE_CLONE | AT_RECURSIVE */
        result = syscall(SYS_open_tree, AT_FDCWD, name, 1 | 0x8000 | O_CLOEXEC);
        if (result < 0 || syscall(SYS_dup3, (int)result, mount_fds[place], O_CLOEXEC) < 0)
            return -1;
        syscall(SYS_close, (int)result);
    }
    return 0;
}

/* Replace detached mounts by copies with locked flags, in a child that ends with errno as its
   status. As sys_hold: no signal at its end, and only waiting for clones finds it. */
static int sys_lock_mounts(int tmpfs_fd, const int *mount_fds, int count, int *pidfd)
{
    struct clone_args args;
    sigset_t all;
    int pid;

    memset(&args, 0, sizeof args);
    args.flags = CLONE_PIDFD | CLONE_FILES;
    args.pidfd = (uint64_t)(uintptr_t)pidfd;
    sigfillset(&all);
    pid = clone_process(&args);
    if (pid != 0)
        return pid;
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, NULL, (_NSIG - 1) / 8);
    syscall(SYS_exit_group, lock_in_child(tmpfs_fd, mount_fds, count) < 0 ? errno : 0);
    return 0;
}
"""
