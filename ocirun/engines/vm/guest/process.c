/* The container's process (number 0) and those of exec, from their frame to their exit status.
 *
 *   F_PROCESS ─► PREPARING ─"r"─► READY ─F_GO─► GOING ─end of file─► RUNNING ─► ended
 */

#define _GNU_SOURCE
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static struct process processes[MAX_PROCESSES];
static char setup[MAX_SETUP];
static size_t setup_length;
static struct program program;
static const char *share_path;
static int namespaces[4] = {-1, -1, -1, -1};
static const char *const namespace_names[4] = {"pid_for_children", "ipc", "uts", "mnt"};
static const int namespace_kinds[4] = {CLONE_NEWPID, CLONE_NEWIPC, CLONE_NEWUTS, CLONE_NEWNS};
static int own_pid_namespace = -1;

void processes_init(const char *share)
{
    share_path = share;
    own_pid_namespace = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC);
    if (own_pid_namespace < 0)
        end_machine("opening the guest's pid namespace failed");
}

bool machine_is_over(void) { return processes[0].said_exit; }

static void say_failed(unsigned number, const char *why)
{
    port_write(F_FAILED, number, why, strlen(why));
}

/* In the new process: enter the container, and never return. */
static _Noreturn void be_child(unsigned number, int control, int stdio[3], int ptmx)
{
    char message[MAX_ERROR + 1] = "x";

    if (!join_cgroup(number == 0, message + 1)) {
        send(control, message, strlen(message), MSG_NOSIGNAL);
        _exit(1);
    }
    if (number == 0) {
        if (!do_setup(setup, setup_length, share_path, message + 1)) {
            send(control, message, strlen(message), MSG_NOSIGNAL);
            _exit(1);
        }
    } else {
        for (int i = 1; i < 4; i++)
            if (setns(namespaces[i], namespace_kinds[i]) < 0) {
                fail(message + 1, "joining the namespace", namespace_names[i]);
                send(control, message, strlen(message), MSG_NOSIGNAL);
                _exit(1);
            }
    }
    run_child(&program, control, stdio, ptmx);
}

/* Descriptors below 3 would be in the way of the program's own. */
static bool make_pipes(int ours[3], int theirs[3])
{
    for (int i = 0; i < 3; i++) {
        int ends[2];

        if (pipe2(ends, O_CLOEXEC) < 0)
            return false;
        ours[i] = ends[i == 0];
        theirs[i] = ends[i != 0];
        if (fcntl(ours[i], F_SETFL, O_NONBLOCK) < 0)
            return false;
    }
    return true;
}

static pid_t clone_process(unsigned number)
{
    unsigned long flags = SIGCHLD;
    pid_t pid;

    if (number == 0)
        return (pid_t)syscall(SYS_clone,
                              flags | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC, 0,
                              0, 0, 0);
    if (setns(namespaces[0], CLONE_NEWPID) < 0)
        return -1;
    pid = (pid_t)syscall(SYS_clone, flags, 0, 0, 0, 0);
    if (pid != 0 && setns(own_pid_namespace, CLONE_NEWPID) < 0)
        end_machine("leaving the container's pid namespace failed");
    return pid;
}

static void start_process(unsigned number)
{
    struct process *process = &processes[number];
    int control[2] = {-1, -1}, theirs[3] = {-1, -1, -1}, ptmx = -1;
    char error[MAX_ERROR];

    memset(process, 0, offsetof(struct process, input));
    process->control = -1;
    for (int i = 0; i < 3; i++)
        process->streams[i] = -1;
    process->terminal = (program.flags & P_TERMINAL) != 0;
    process->credit[1] = process->credit[2] = WINDOW;
    if (process->terminal)
        ptmx = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, control) < 0 ||
        (!process->terminal && !make_pipes(process->streams, theirs)))
        process->pid = -1;
    else
        process->pid = clone_process(number);
    if (process->pid == 0)
        be_child(number, control[1], theirs, ptmx);
    if (process->pid < 0)
        fail(error, "making the process", "");
    close_fd(&control[1]);
    close_fd(&ptmx);
    for (int i = 0; i < 3; i++)
        close_fd(&theirs[i]);
    if (process->pid < 0) {
        close_fd(&control[0]);
        for (int i = 0; i < 3; i++)
            close_fd(&process->streams[i]);
        say_failed(number, error);
        return;
    }
    process->control = control[0];
    process->state = PREPARING;
}

static void open_namespaces(pid_t pid)
{
    char path[64];

    snprintf(path, sizeof path, "/proc/%d/ns/cgroup", pid);
    if (!open_cgroup_namespace(path))
        end_machine("opening the container's cgroup namespace failed");
    for (int i = 0; i < 4; i++) {
        snprintf(path, sizeof path, "/proc/%d/ns/%s", pid, i == 0 ? "pid" : namespace_names[i]);
        namespaces[i] = open(path, O_RDONLY | O_CLOEXEC);
        if (namespaces[i] < 0)
            end_machine("opening the container's namespaces failed");
    }
}

static void take_program(struct frame *frame)
{
    struct fields fields;

    fields_of(&fields, frame->payload, frame->length);
    if (frame->process >= MAX_PROCESSES || processes[frame->process].state != FREE ||
        (frame->process == 0) != (namespaces[0] < 0) || setup_length == 0 ||
        !read_program(&fields, &program))
        end_machine("a process of the monitor is broken");
    start_process(frame->process);
}

static bool ends_by_default(uint32_t number)
{
    static const char others[] = {0, SIGCHLD, SIGCONT, SIGURG, SIGWINCH, SIGSTOP,
                                  SIGTSTP, SIGTTIN, SIGTTOU};

    return memchr(others, (int)number, sizeof others) == NULL;
}

static void take_signal(struct process *process, struct fields *fields)
{
    uint32_t number = get_u32(fields);

    if (!fields_done(fields) || number > 64)
        end_machine("a signal of the monitor is broken");
    if (process->ended)
        return;
    /* Kernel: process 1 of a pid namespace does not die of a signal that it does not handle. Until
       it is the program it shall. */
    if (process->state != RUNNING && ends_by_default(number)) {
        process->forced = 128 + (int)number;
        number = SIGKILL;
    }
    kill(process->pid, (int)number);
}

static void take_size(struct process *process, struct fields *fields)
{
    uint32_t rows = get_u32(fields), columns = get_u32(fields);
    struct winsize size = {.ws_row = (unsigned short)rows, .ws_col = (unsigned short)columns};

    if (!fields_done(fields) || rows > 0xffff || columns > 0xffff)
        end_machine("a size of the monitor is broken");
    if (process->terminal && process->streams[0] >= 0)
        ioctl(process->streams[0], TIOCSWINSZ, &size);
}

void processes_frame(struct frame *frame)
{
    struct process *process = &processes[frame->process % MAX_PROCESSES];
    struct fields fields;

    if (is_setup(frame->type)) {
        size_t whole = HEADER_BYTES + frame->length;

        /* Security: the root comes first, or the rest would be done to the guest's own files. */
        if (frame->process != 0 || processes[0].state != FREE || namespaces[0] >= 0 ||
            (frame->type == F_ROOT) != (setup_length == 0) ||
            whole > sizeof setup - setup_length || !check_setup(frame))
            end_machine("the setup of the monitor is broken");
        /* Order: the header lies before the payload, in the same buffer (port.c). */
        memcpy(setup + setup_length, frame->payload - HEADER_BYTES, whole);
        setup_length += whole;
        if (frame->type == F_LINK)
            load_modules("network");
        /* Not outside of a machine, whose cgroups and disks these would be. */
        if ((frame->type == F_PIDS || frame->type == F_IMAGE) && share_path == NULL) {
            char error[MAX_ERROR];

            fields_of(&fields, frame->payload, frame->length);
            if (!(frame->type == F_PIDS ? limit_pids : mount_image)(&fields, error))
                say_failed(0, error);
        }
        return;
    }
    if (frame->type == F_SEED) {
        if (frame->process != 0 || setup_length > 0 || !take_seed(frame, share_path == NULL))
            end_machine("the seed of the monitor is broken");
        return;
    }
    if (frame->type == F_PROCESS) {
        take_program(frame);
        return;
    }
    if (frame->process >= MAX_PROCESSES)
        end_machine("a frame of the monitor is for no process");
    if (frame->type == '\0' || strchr(FOR_PROCESS, frame->type) == NULL)
        end_machine("a frame of the monitor is of no known type");
    if (process->state == FREE)
        return; /* it has ended, and the monitor does not know yet */
    fields_of(&fields, frame->payload, frame->length);
    switch (frame->type) {
    case F_GO:
        if (process->state != READY)
            end_machine("a process of the monitor goes twice");
        process->state = GOING;
        send(process->control, "g", 1, MSG_NOSIGNAL);
        break;
    case F_INPUT:
        take_input(process, frame);
        break;
    case F_ACK:
        take_ack(process, &fields);
        break;
    case F_SIGNAL:
        take_signal(process, &fields);
        break;
    case F_SIZE:
        take_size(process, &fields);
        break;
    }
}

/* Four pollfds for each process, -1 where nothing is waited for. */
int processes_poll_fds(void *pollfds, int most)
{
    struct pollfd *fds = pollfds;
    int count = 0;

    for (int i = 0; i < MAX_PROCESSES && count + 4 <= most; i++) {
        const struct process *process = &processes[i];
        bool used = process->state != FREE;

        fds[count++] = (struct pollfd){used ? process->control : -1, POLLIN, 0};
        fds[count++] =
            (struct pollfd){used && wants_input(process) ? process->streams[0] : -1, POLLOUT, 0};
        for (int stream = 1; stream < 3; stream++)
            fds[count++] = (struct pollfd){
                used && may_send(process, stream) ? process->streams[stream] : -1, POLLIN, 0};
    }
    return count;
}

static void read_control(unsigned number)
{
    struct process *process = &processes[number];
    char text[MAX_ERROR + 1], space[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec vector = {text, sizeof text};
    struct msghdr message = {.msg_iov = &vector,
                             .msg_iovlen = 1,
                             .msg_control = space,
                             .msg_controllen = sizeof space};
    ssize_t got = recvmsg(process->control, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    const struct cmsghdr *rights = got > 0 ? CMSG_FIRSTHDR(&message) : NULL;

    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got > 0 && text[0] == 'r' && process->state == PREPARING) {
        if (rights != NULL && rights->cmsg_type == SCM_RIGHTS) {
            memcpy(&process->streams[0], CMSG_DATA(rights), sizeof(int));
            process->streams[1] = process->streams[0];
            fcntl(process->streams[0], F_SETFL, O_NONBLOCK);
        }
        process->state = READY;
        if (number == 0)
            open_namespaces(process->pid);
        port_write(F_READY, number, NULL, 0);
        return;
    }
    if (got > 0 && text[0] == 'x') {
        port_write(F_FAILED, number, text + 1, (size_t)got - 1);
        process->said_exit = number != 0; /* it has no exit status of its own */
    } else if (process->state == PREPARING) {
        say_failed(number, "the process died while it was being made");
        process->said_exit = number != 0;
    } else if (process->state == GOING) {
        process->state = RUNNING;
        port_write(F_STARTED, number, NULL, 0);
    }
    close_fd(&process->control);
}

/* The exit status goes after the output: all that is in the pipes when the process has ended. */
static void finish(unsigned number)
{
    struct process *process = &processes[number];

    if (!process->ended || process->control >= 0)
        return;
    for (int stream = 1; stream < 3; stream++) {
        while (may_send(process, stream) && read_output(number, process, stream))
            continue;
        if (process->streams[stream] >= 0 && process->credit[stream] == 0)
            return; /* there may be more: the monitor answers first */
    }
    if (number == 0)
        write_image();
    if (!process->said_exit)
        port_write_number(F_EXIT, number, (uint32_t)process->status);
    process->said_exit = true;
    for (int stream = 0; stream < 3; stream++)
        close_stream(process, stream);
    process->state = FREE;
}

void processes_ready(const void *pollfds, int count)
{
    const struct pollfd *fds = pollfds;

    for (int i = 0; i < count; i++) {
        unsigned number = (unsigned)i / 4;
        struct process *process = &processes[number];

        if (fds[i].fd < 0 || fds[i].revents == 0 || process->state == FREE)
            continue;
        if (i % 4 == 0)
            read_control(number);
        else if (i % 4 == 1 && process->streams[0] == fds[i].fd)
            write_input(number, process);
        else if (i % 4 > 1 && process->streams[i % 4 - 1] == fds[i].fd)
            read_output(number, process, i % 4 - 1);
    }
    for (unsigned number = 0; number < MAX_PROCESSES; number++)
        if (processes[number].state != FREE)
            finish(number);
}

void processes_reap(void)
{
    int status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        for (int i = 0; i < MAX_PROCESSES; i++) {
            struct process *process = &processes[i];

            if (process->state == FREE || process->pid != pid || process->ended)
                continue;
            process->ended = true;
            process->status =
                WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
            if (process->forced && WIFSIGNALED(status))
                process->status = process->forced;
        }
}
