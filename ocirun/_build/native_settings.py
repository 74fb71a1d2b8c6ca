"""A part of native.py: what a process has, its limits, scheduling, capabilities, keys, filters."""

from __future__ import annotations

SOURCE = r"""
static int prlimit_get(int pid, int resource, uint64_t *soft_and_hard)
{
    struct rlimit64 limit;
    int result = (int)syscall(SYS_prlimit64, pid, resource, NULL, &limit);
    if (result == 0) {
        soft_and_hard[0] = limit.rlim_cur;
        soft_and_hard[1] = limit.rlim_max;
    }
    return result;
}

/* Allow every CPU there may be; the kernel cuts the mask to those it has and the cpuset allows. */
static int reset_affinity(void)
{
    unsigned long mask[8192 / (8 * sizeof(unsigned long))];
    memset(mask, 0xff, sizeof mask);
    return (int)syscall(SYS_sched_setaffinity, 0, sizeof mask, mask);
}

static int sys_close_range(unsigned int first, unsigned int last, unsigned int flags)
{
    return (int)syscall(SYS_close_range, first, last, flags);
}

/* size is how much of the struct the kernel is to read: 48 bytes, or 56 with the clamps, which
   stay 0. */
static int sys_sched_setattr(uint32_t size, uint32_t policy, uint64_t flags, int32_t nice,
                             uint32_t priority, uint64_t runtime, uint64_t deadline,
                             uint64_t period)
{
    struct {
        uint32_t size, policy;
        uint64_t flags;
        int32_t nice;
        uint32_t priority;
        uint64_t runtime, deadline, period;
        uint32_t util_min, util_max;
    } attr = { size, policy, flags, nice, priority, runtime, deadline, period, 0, 0 };
    return (int)syscall(SYS_sched_setattr, 0, &attr, 0);
}

static int sys_ioprio_set(int which, int who, int ioprio)
{
    return (int)syscall(SYS_ioprio_set, which, who, ioprio);
}

static int sys_set_mempolicy(int mode, const unsigned long *nodemask, unsigned long maxnode)
{
    return (int)syscall(SYS_set_mempolicy, mode, nodemask, maxnode);
}

/* Drop from the bounding set the capabilities up to `last` that are not in `kept`. */
static int drop_bounding_set(uint64_t kept, int last)
{
    for (int number = 0; number <= last; number++) {
        int error;
        if (kept >> number & 1 || prctl(PR_CAPBSET_DROP, number, 0, 0, 0) == 0)
            continue;
        error = errno; /* EPERM without CAP_SETPCAP, also where there is nothing to drop */
        if (error == EPERM && prctl(PR_CAPBSET_READ, number, 0, 0, 0) == 0)
            continue;
        errno = error;
        return -1;
    }
    return 0;
}

/* six_words: effective, permitted, inheritable of the low 32 capabilities, then of the high. */
static int sys_capset(const uint32_t *six_words)
{
    struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
    return (int)syscall(SYS_capset, &header, six_words);
}

/* As sys_capset. */
static int sys_capget(uint32_t *six_words)
{
    struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
    return (int)syscall(SYS_capget, &header, six_words);
}

/* six_ids: real, effective and saved uid, then gid. */
static int sys_getres(uint32_t *six_ids)
{
    if (syscall(SYS_getresuid, six_ids, six_ids + 1, six_ids + 2) < 0)
        return -1;
    return (int)syscall(SYS_getresgid, six_ids + 3, six_ids + 4, six_ids + 5);
}

static long sys_keyctl(int operation, unsigned long arg2, unsigned long arg3, unsigned long arg4,
                       unsigned long arg5)
{
    return syscall(SYS_keyctl, operation, arg2, arg3, arg4, arg5);
}

/* program: classic BPF, `length` bytes of struct sock_filter; NULL to ask whether the kernel knows
   the flags (EFAULT then, EINVAL when not). */
static int sys_seccomp_filter(unsigned int flags, const char *program, size_t length)
{
    struct sock_fprog all = { (unsigned short)(length / sizeof(struct sock_filter)),
                              (struct sock_filter *)(uintptr_t)program };
    return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, program ? &all : NULL);
}

static int sys_pidfd_getfd(int pidfd, int fd)
{
    return (int)syscall(SYS_pidfd_getfd, pidfd, fd, 0);
}

/* The kernel's own call: the C library's changes the meaning of the result of some requests. */
static long sys_ptrace(unsigned long request, int pid, unsigned long address, unsigned long data)
{
    return syscall(SYS_ptrace, request, pid, address, data);
}

static int sys_bpf(int command, void *attributes, unsigned int size)
{
    return (int)syscall(SYS_bpf, command, attributes, size);
}
"""
