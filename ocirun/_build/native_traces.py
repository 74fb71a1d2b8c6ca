"""A part of native.py: remove the traces of a caller, in signals, arguments and memory."""

from __future__ import annotations

SOURCE = r"""
static void end(int number)
{
    syscall(SYS_exit_group, 128 + number);
}

/* Does this signal end a process by default? (signal(7), and the C library's own two left out) */
static int ends(int number)
{
    switch (number) {
    case SIGCHLD: case SIGCONT: case SIGURG: case SIGWINCH:
    case SIGTSTP: case SIGTTIN: case SIGTTOU: case 32: case 33:
        return 0;
    }
    return 1;
}

/* Every disposition to its default, no signal blocked: what a program expects after execve. With
   `ends_too`, what would end a process by default ends this one by exit: the kernel keeps signals
   of the default disposition from process 1 of a pid namespace. execve makes them the default.

   The system call itself: the C library keeps the signals 32 and 33 to itself and refuses to set
   them, but ignores them in whatever posix_spawn starts, make for one. Zeros are SIG_DFL, no flag
   and an empty mask in the kernel's struct sigaction of every architecture. */
static int reset_signals(int ends_too)
{
    const unsigned long zeros[8] = {0};
    struct sigaction by_exit;
    sigset_t none;

    memset(&by_exit, 0, sizeof by_exit);
    by_exit.sa_handler = end;
    for (int number = 1; number < _NSIG; number++) {
        if (number == SIGKILL || number == SIGSTOP)
            continue;
        if (ends_too && ends(number))
            sigaction(number, &by_exit, NULL);
        else
            syscall(SYS_rt_sigaction, number, zeros, NULL, (_NSIG - 1) / 8);
    }
    sigemptyset(&none);
    return sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Overwrite with zeros; the compiler may not leave that out. Returns 0. */
static int wipe(const char *text, size_t length)
{
    volatile char *byte = (volatile char *)(uintptr_t)text;

    while (length--)
        *byte++ = 0;
    return 0;
}

/* Overwrite the strings that this program was executed with, then write `title` where the kernel
   looks for its command line. -1 where they are not found.

   Kernel: the arguments, the environment and the name of the file lie one after the other on the
   stack (fs/exec.c, copy_strings), and the first argument is what the C library keeps as the
   program's name. */
static int forget_arguments(const char *title, size_t length)
{
    const char *first = program_invocation_name, *last = (const char *)getauxval(AT_EXECFN);
    const char here = 0;

    if (!last || first < &here || first >= last || last - first > (8 << 20))
        return -1;
    clearenv();
    wipe(first, (size_t)(last - first));
    if (length < (size_t)(last - first))
        memcpy((char *)(uintptr_t)first, title, length);
    return 0;
}

/* Load libm no more, from a container's root least of all. */
#ifdef PYTHON_LINKED
int forbid_libm(void); /* snapshot/libm.c */
#else
static int forbid_libm(void)
{
    return 0; /* it was loaded with the interpreter */
}
#endif
"""
