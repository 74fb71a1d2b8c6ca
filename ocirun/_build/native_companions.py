"""A part of native.py: a program of the host that lives as long as a container.

    caller ─ clone ─► helper ─ clone, new pid namespace ─► keeper ─ clone ─► the program
                      ends at once                         ends with init

The keeper is pid 1 of a pid namespace of its own, so its end, whatever the reason, is the end of
all in there: the kernel sees to it. Nothing in here but system calls: the caller may have threads.

Source: pid_namespaces(7), pidfd_open(2), signalfd(2).
"""

from __future__ import annotations

SOURCE = r"""
#include <poll.h>
#include <stdio.h>
#include <sys/signalfd.h>
#include <sys/wait.h>

#define MOST_ARGUMENTS 1024
#define MOST_BINDS 2

struct companion {
    int userns_fd;       /* the user namespace to be in; -1: the caller's */
    int init_pidfd;      /* whose end is the end of all */
    int told_fd;         /* where messages go */
    int words_fd;        /* the program's stderr */
    int notice_fd;       /* what the program has its end of told_fd as; -1: it has none */
    const int *kept;     /* the descriptors that the keeper keeps, in ascending order */
    int kept_count;
    const char *binds[2 * MOST_BINDS]; /* namespaces, each with a file to find it at */
    int bind_count;
    const char *program;
    char *argv[MOST_ARGUMENTS + 1];
    char *envp[2];
};

/* 'k': the keeper has this pid. 'f': a step failed with this errno. 'e': the program has ended with
   this wait status. A program may write a message of its own. */
static void companion_tells(const struct companion *all, char kind, int value)
{
    char message[1 + sizeof value];
    message[0] = kind;
    memcpy(message + 1, &value, sizeof value);
    syscall(SYS_write, all->told_fd, message, sizeof message);
}

static void companion_fails(const struct companion *all)
{
    companion_tells(all, 'f', errno);
    syscall(SYS_exit_group, 1);
}

static int companion_clone(uint64_t exit_signal)
{
    struct clone_args args;
    memset(&args, 0, sizeof args);
    args.exit_signal = exit_signal;
    return clone_process(&args);
}

static void companion_closes_others(const int *kept, int count)
{
    unsigned int from = 0, last;
    for (int i = 0; i <= count; i++) {
        last = i < count ? (unsigned int)kept[i] - 1 : ~0U;
        if ((i == count || from <= last) && syscall(SYS_close_range, from, last, 0U) < 0)
            close_each(from, last, 0);
        if (i < count)
            from = (unsigned int)kept[i] + 1;
    }
}

static void companion_runs_program(const struct companion *all)
{
    sigset_t none;
    int null_fd = open("/dev/null", O_RDWR); /* it may be 0 or 1 itself */

    sigemptyset(&none);
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, &none, NULL, (_NSIG - 1) / 8);
    if (null_fd < 0 || dup2(null_fd, 0) < 0 || dup2(null_fd, 1) < 0 || dup2(all->words_fd, 2) < 0)
        companion_fails(all);
    if (all->notice_fd >= 0 && dup2(all->told_fd, all->notice_fd) < 0)
        companion_fails(all);
    if (null_fd > 2)
        close(null_fd);
    execve(all->program, all->argv, all->envp);
    companion_fails(all);
}

static void companion_keeps(const struct companion *all)
{
    static const char title[] = "ocirun: network of a container";
    struct signalfd_siginfo ended;
    struct pollfd polled[2];
    sigset_t child;
    int program, pid, status;

    syscall(SYS_prctl, PR_SET_DUMPABLE, 0, 0, 0, 0);
    forget_arguments(title, sizeof title);
    companion_closes_others(all->kept, all->kept_count);
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    polled[0] = (struct pollfd){ all->init_pidfd, POLLIN, 0 };
    polled[1] = (struct pollfd){ signalfd(-1, &child, SFD_CLOEXEC), POLLIN, 0 };
    if (polled[1].fd < 0)
        companion_fails(all);
    program = companion_clone(SIGCHLD);
    if (program == 0)
        companion_runs_program(all);
    if (program < 0)
        companion_fails(all);
    for (;;) {
        if (poll(polled, 2, -1) < 0 && errno != EINTR)
            companion_fails(all);
        if (polled[0].revents)
            syscall(SYS_exit_group, 0);
        if (!(polled[1].revents & POLLIN))
            continue;
        syscall(SYS_read, polled[1].fd, &ended, sizeof ended);
        while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
            if (pid == program)
                companion_tells(all, 'e', status);
        if (pid < 0)
            syscall(SYS_exit_group, 0); /* none is left */
    }
}

static void companion_helps(const struct companion *all)
{
    sigset_t every;
    int pid;

    sigfillset(&every);
    reset_signals(0);
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, &every, NULL, (_NSIG - 1) / 8);
    syscall(SYS_setsid);
    if (chdir("/") < 0
        || (all->userns_fd >= 0 && syscall(SYS_setns, all->userns_fd, CLONE_NEWUSER) < 0)
        || unshare(CLONE_NEWNS | CLONE_NEWPID) < 0
        || mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
        companion_fails(all);
    for (int i = 0; i < all->bind_count; i++)
        if (mount(all->binds[2 * i], all->binds[2 * i + 1], NULL, MS_BIND, NULL) < 0)
            companion_fails(all);
    pid = companion_clone(0);
    if (pid == 0)
        companion_keeps(all);
    if (pid < 0)
        companion_fails(all);
    companion_tells(all, 'k', pid);
    syscall(SYS_exit_group, 0);
}

static const char *companion_text(const char **texts)
{
    const char *text = *texts;
    *texts += strlen(text) + 1;
    return text;
}

/* Return the pid of the helper, which the caller reaps, or -1. No signal tells of its end. fds: the
   first five members. texts: the binds, the program, one variable of its environment, and its
   arguments, each with its NUL. */
static int sys_accompany(const int *fds, const int *kept, int kept_count, const char *texts,
                         int binds, int arguments)
{
    struct companion all = { fds[0], fds[1], fds[2], fds[3], fds[4], kept, kept_count,
                             { NULL }, binds, NULL, { NULL }, { NULL } };
    int pid;

    if (arguments > MOST_ARGUMENTS || binds > MOST_BINDS) {
        errno = E2BIG;
        return -1;
    }
    for (int i = 0; i < 2 * binds; i++)
        all.binds[i] = companion_text(&texts);
    all.program = companion_text(&texts);
    all.envp[0] = (char *)(uintptr_t)companion_text(&texts);
    for (int i = 0; i < arguments; i++)
        all.argv[i] = (char *)(uintptr_t)companion_text(&texts);
    pid = companion_clone(0);
    if (pid == 0)
        companion_helps(&all);
    return pid;
}
"""
