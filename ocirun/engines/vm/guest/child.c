/* A process on its way to its program: stdio, the gate, limits, user, capabilities, seccomp, execve.
 *
 * It talks to the agent over `control` (SOCK_SEQPACKET): "r" when it waits at the gate, with its
 * terminal's master; it reads "g" there; "x" and a sentence when something fails; end of file when
 * the program runs.
 *
 * Source: runtime-spec config.md#process; capabilities(7), credentials(7), execve(2), pty(7).
 */

#define _GNU_SOURCE
#include "guest.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define IOPRIO_WHO_PROCESS 1

static int control = -1;

/* write(2) and no other call: a filter that holds already has to allow it. */
static _Noreturn void report(const char *message, size_t length)
{
    ssize_t written = write(control, message, length);

    _exit(written < 0 ? 2 : 1);
}

static _Noreturn void die(const char *what, const char *on)
{
    char message[MAX_ERROR + 1] = "x";

    fail(message + 1, what, on);
    report(message, strlen(message));
}

static void say_ready(int master)
{
    char byte = 'r', space[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec vector = {&byte, 1};
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};

    if (master >= 0) {
        struct cmsghdr *rights;

        message.msg_control = space;
        message.msg_controllen = sizeof space;
        rights = CMSG_FIRSTHDR(&message);
        rights->cmsg_level = SOL_SOCKET;
        rights->cmsg_type = SCM_RIGHTS;
        rights->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(rights), &master, sizeof master);
    }
    if (sendmsg(control, &message, MSG_NOSIGNAL) < 0)
        _exit(1);
}

/* Make the process's terminal its stdio; returns the master. `ptmx` is the guest's own, for a
   container without a devpts. */
static int open_terminal(const struct program *program, int ptmx)
{
    struct winsize size = {.ws_row = (unsigned short)program->rows,
                           .ws_col = (unsigned short)program->columns};
    int zero = 0, slave;
    int master = open("/dev/pts/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);

    if (master < 0)
        master = ptmx;
    if (ioctl(master, TIOCSPTLCK, &zero) < 0)
        die("unlocking", "the terminal");
    slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (slave < 0)
        die("opening", "the terminal");
    if (fchown(slave, program->user.uid, (gid_t)-1) < 0)
        die("giving away", "the terminal");
    if (size.ws_row > 0 && ioctl(master, TIOCSWINSZ, &size) < 0)
        die("sizing", "the terminal");
    if (setsid() < 0 || ioctl(slave, TIOCSCTTY, 0) < 0)
        die("controlling", "the terminal");
    for (int fd = 0; fd < 3; fd++)
        if (dup2(slave, fd) < 0)
            die("placing", "the terminal");
    return master;
}

/* struct sched_attr as it is since Linux 5.3. */
static void set_scheduler(const struct scheduler *wanted)
{
    struct {
        uint32_t size, policy;
        uint64_t flags;
        int32_t nice;
        uint32_t priority;
        uint64_t runtime, deadline, period;
        uint32_t clamps[2];
    } attributes = {
        .size = sizeof attributes,
        .policy = wanted->policy,
        .flags = wanted->flags,
        .nice = (int32_t)wanted->nice,
        .priority = wanted->priority,
        .runtime = wanted->runtime,
        .deadline = wanted->deadline,
        .period = wanted->period,
    };

    if (syscall(SYS_sched_setattr, 0, &attributes, 0) < 0)
        die("setting", "the scheduling policy");
}

static void set_limits(const struct program *program)
{
    char text[16];
    int fd;

    if (program->flags & P_OOM_SCORE) {
        int length = snprintf(text, sizeof text, "%d", (int)program->oom_score - 1000);

        fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
        if (fd < 0 || write(fd, text, (size_t)length) < 0)
            die("writing", "/proc/self/oom_score_adj");
        close(fd);
    }
    if ((program->flags & P_IO_PRIORITY) &&
        syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, program->io_priority) < 0)
        die("setting", "the I/O priority");
    if (program->flags & P_SCHEDULER)
        set_scheduler(&program->scheduler);
    if ((program->flags & P_PERSONALITY) && personality(program->persona) < 0)
        die("setting", "the personality");
    for (uint32_t i = 0; i < program->limit_count; i++) {
        struct rlimit limit = {program->limits[i].soft, program->limits[i].hard};

        if (setrlimit((__rlimit_resource_t)program->limits[i].resource, &limit) < 0)
            die("setting", "a resource limit");
    }
}

static void make_cwd(const char *cwd)
{
    char part[4096];
    size_t length = strlen(cwd);

    if (length >= sizeof part) {
        errno = ENAMETOOLONG;
        die("entering", cwd);
    }
    for (size_t i = 1; i <= length; i++)
        if (cwd[i] == '/' || cwd[i] == '\0') {
            memcpy(part, cwd, i);
            part[i] = '\0';
            if (mkdir(part, 0755) < 0 && errno != EEXIST && errno != EROFS)
                die("making the working directory", cwd);
        }
}

static void drop_bounding(uint64_t kept)
{
    for (unsigned long number = 0; prctl(PR_CAPBSET_READ, number, 0, 0, 0) >= 0; number++)
        if ((kept >> number & 1) == 0 && prctl(PR_CAPBSET_DROP, number, 0, 0, 0) < 0)
            die("dropping", "a capability");
}

static void put_sets(const uint64_t *sets, uint64_t kept)
{
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2];

    for (int half = 0; half < 2; half++) {
        data[half].effective = (uint32_t)((sets[EFFECTIVE] | kept) >> 32 * half);
        data[half].permitted = (uint32_t)((sets[PERMITTED] | kept) >> 32 * half);
        data[half].inheritable = (uint32_t)(sets[INHERITABLE] >> 32 * half);
    }
    if (syscall(SYS_capset, &header, data) < 0)
        die("setting", "capabilities");
}

/* What it does not set stays all ones: a filter may answer the call itself. */
static void read_sets(uint64_t *sets)
{
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2];

    memset(data, 0xff, sizeof data);
    if (syscall(SYS_capget, &header, data) < 0)
        die("reading", "capabilities");
    sets[EFFECTIVE] = (uint64_t)data[1].effective << 32 | data[0].effective;
    sets[PERMITTED] = (uint64_t)data[1].permitted << 32 | data[0].permitted;
    sets[INHERITABLE] = (uint64_t)data[1].inheritable << 32 | data[0].inheritable;
}

static void become(const struct program *program)
{
    const struct user *user = &program->user;

    if (program->flags & P_CAPABILITIES)
        drop_bounding(program->capabilities[BOUNDING]);
    if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0)
        die("keeping", "capabilities");
    if (setgroups(user->group_count, user->groups) < 0 || setgid(user->gid) < 0 ||
        setuid(user->uid) < 0)
        die("becoming", "the user");
    if (prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0) < 0)
        die("keeping", "capabilities");
}

/* Set capabilities and no_new_privs; beside them `kept` stays effective. `sets` are then those that
   the program is to have. */
static void limit_rights(const struct program *program, uint64_t kept, uint64_t *sets)
{
    bool has_sets = (program->flags & P_CAPABILITIES) != 0;

    if (has_sets)
        memcpy(sets, program->capabilities, sizeof program->capabilities);
    else
        read_sets(sets);
    if (has_sets || kept != 0)
        put_sets(sets, kept);
    for (unsigned long number = 0; has_sets && number < 64; number++)
        if ((sets[AMBIENT] >> number & 1) &&
            prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, number, 0, 0) < 0)
            die("raising", "an ambient capability");
    if ((program->flags & P_NO_NEW_PRIVILEGES) && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        die("setting", "no_new_privs");
}

/* From here on the filter holds for our own calls too. */
static void load_filter(const struct program *program)
{
    struct sock_fprog filter = {(unsigned short)(program->filter_bytes / INSTRUCTION_BYTES),
                                (struct sock_filter *)(void *)program->filter};

    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, program->seccomp_flags, &filter) < 0)
        die("loading", "the seccomp filter");
}

/* Security: the filter may have answered capset itself, and have nothing done. */
static void give_up_kept(const uint64_t *sets)
{
    uint64_t found[CAPABILITY_SETS] = {0};

    put_sets(sets, 0);
    read_sets(found);
    if (found[EFFECTIVE] != sets[EFFECTIVE] || found[PERMITTED] != sets[PERMITTED] ||
        found[INHERITABLE] != sets[INHERITABLE]) {
        static const char message[] =
            "xsetting capabilities had no effect: a seccomp filter seems to answer capset";

        report(message, sizeof message - 1);
    }
}

static const char *variable(char *const *env, const char *name)
{
    size_t length = strlen(name);

    for (; *env != NULL; env++)
        if (strncmp(*env, name, length) == 0 && (*env)[length] == '=')
            return *env + length + 1;
    return NULL;
}

static _Noreturn void execute(const struct program *program)
{
    const char *name = program->args[0], *path = variable(program->env, "PATH");
    int last = ENOENT;
    char whole[8192];

    if (strchr(name, '/') != NULL) {
        execve(name, program->args, program->env);
        die("exec", name);
    }
    for (const char *at = path ? path : ""; at != NULL && *at != '\0';) {
        const char *end = strchrnul(at, ':');

        if (snprintf(whole, sizeof whole, "%.*s/%s", (int)(end - at), at, name) <
            (int)sizeof whole) {
            execve(whole, program->args, program->env);
            if (errno != ENOENT && errno != ENOTDIR)
                last = errno;
        }
        at = *end == ':' ? end + 1 : NULL;
    }
    errno = last;
    if (last == ENOENT) {
        char message[MAX_ERROR];
        int length = snprintf(message, sizeof message,
                              "xexec: \"%s\": executable file not found in $PATH", name);

        report(message, (size_t)length < sizeof message ? (size_t)length : sizeof message - 1);
    }
    die("exec", name);
}

_Noreturn void run_child(const struct program *program, int socket, int stdio[3], int ptmx)
{
    /* Kernel: without no_new_privs, loading a filter takes CAP_SYS_ADMIN. */
    bool filtered = (program->flags & P_SECCOMP) != 0;
    bool keeps = filtered && (program->flags & P_NO_NEW_PRIVILEGES) == 0;
    uint64_t sets[CAPABILITY_SETS] = {0};
    sigset_t none;
    char go;
    int master = -1;

    control = socket;
    for (int number = 1; number < NSIG; number++)
        signal(number, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    make_cwd(program->cwd);
    if (program->flags & P_TERMINAL) {
        master = open_terminal(program, ptmx);
    } else {
        setsid();
        for (int fd = 0; fd < 3; fd++)
            if (fchown(stdio[fd], program->user.uid, (gid_t)-1) < 0 || dup2(stdio[fd], fd) < 0)
                die("placing", "stdio");
    }
    say_ready(master);
    if (recv(control, &go, 1, 0) != 1 || go != 'g')
        _exit(1);
    /* Order: everything but the control socket, which closes itself when the program runs. */
    if (control != 3 && dup3(control, 3, O_CLOEXEC) < 0)
        die("placing", "the control socket");
    control = 3;
    if (syscall(SYS_close_range, 4U, ~0U, 0U) < 0)
        die("closing", "descriptors");
    umask(program->flags & P_UMASK ? program->umask : 022);
    set_limits(program);
    if (chdir(program->cwd) < 0 && errno != EACCES)
        die("chdir to cwd", program->cwd);
    become(program);
    limit_rights(program, keeps ? 1ULL << CAP_SYS_ADMIN : 0, sets);
    if (chdir(program->cwd) < 0)
        die("chdir to cwd", program->cwd);
    if (filtered)
        load_filter(program);
    if (keeps)
        give_up_kept(sets);
    execute(program);
}
