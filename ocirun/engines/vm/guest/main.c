/* The first process of the guest: mount what it needs itself, find the port, serve the monitor.
 *
 *   init                    as the kernel starts it
 *   init FD DIRECTORY       outside of a machine, for tests: frames on FD, the root in DIRECTORY
 */

#define _GNU_SOURCE
#include "guest.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PORT_NAME "ocirun"
#define PORTS "/sys/class/virtio-ports"
#define MODULES "/modules"
#define PORT_ROUNDS 1000
#define ROUND_US 10000

static bool is_machine;

_Noreturn void end_machine(const char *why)
{
    if (why != NULL)
        dprintf(2, "ocirun: %s\n", why);
    if (!is_machine)
        _exit(why == NULL ? 0 : 1);
    sync();
    reboot(RB_POWER_OFF);
    for (;;)
        pause();
}

static void mount_or_end(const char *type, const char *target)
{
    if (mkdir(target, 0755) < 0 && errno != EEXIST)
        end_machine("making a directory of the guest failed");
    if (mount(type, target, type, 0, NULL) < 0 && errno != EBUSY)
        end_machine("mounting a file system of the guest failed");
}

/* In the order of their names: tools/vm has numbered them. */
void load_modules(const char *directory)
{
    static const char *loaded;
    struct dirent **names;
    char path[512];
    int count;

    if (!is_machine || (loaded != NULL && strcmp(loaded, directory) == 0))
        return;
    loaded = directory;
    snprintf(path, sizeof path, MODULES "/%s", directory);
    count = scandir(path, &names, NULL, alphasort);
    for (int i = 0; i < count; i++) {
        int fd;

        if (names[i]->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, MODULES "/%s/%s", directory, names[i]->d_name);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0 || (syscall(SYS_finit_module, fd, "", 0) < 0 && errno != EEXIST))
            dprintf(2, "ocirun: loading %s: %s\n", path, strerror(errno));
        if (fd >= 0)
            close(fd);
    }
}

static bool is_our_port(const char *port)
{
    char path[512], name[64] = "";
    int fd;

    snprintf(path, sizeof path, PORTS "/%s/name", port);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    if (read(fd, name, sizeof name - 1) < 0)
        name[0] = '\0';
    close(fd);
    return strcmp(name, PORT_NAME "\n") == 0;
}

static int find_port(void)
{
    for (int round = 0; round < PORT_ROUNDS; round++) {
        DIR *ports = opendir(PORTS);
        struct dirent *entry;
        int fd = -1;

        while (ports != NULL && fd < 0 && (entry = readdir(ports)) != NULL) {
            char path[512];

            if (entry->d_name[0] == '.' || !is_our_port(entry->d_name))
                continue;
            snprintf(path, sizeof path, "/dev/%s", entry->d_name);
            fd = open(path, O_RDWR | O_CLOEXEC);
        }
        if (ports != NULL)
            closedir(ports);
        if (fd >= 0)
            return fd;
        usleep(ROUND_US);
    }
    end_machine("there is no port to the monitor");
}

static void bring_up_loopback(void)
{
    struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &request) < 0)
        dprintf(2, "ocirun: lo: %s\n", strerror(errno));
    if (fd >= 0)
        close(fd);
}

static int block_signals(void)
{
    sigset_t child;
    int fd;

    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigprocmask(SIG_BLOCK, &child, NULL);
    signal(SIGPIPE, SIG_IGN);
    fd = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
    if (fd < 0)
        end_machine("signalfd failed");
    return fd;
}

static void serve(int signals)
{
    static struct pollfd fds[2 + 4 * MAX_PROCESSES];
    struct signalfd_siginfo info;
    struct frame frame;

    while (!machine_is_over()) {
        int count = processes_poll_fds(fds + 2, 4 * MAX_PROCESSES);

        fds[0] = (struct pollfd){port_fd(), POLLIN, 0};
        fds[1] = (struct pollfd){signals, POLLIN, 0};
        if (poll(fds, (nfds_t)count + 2, -1) < 0 && errno != EINTR)
            end_machine("poll failed");
        if (fds[1].revents) {
            while (read(signals, &info, sizeof info) > 0)
                continue;
            processes_reap();
        }
        if (fds[0].revents && port_read(&frame))
            processes_frame(&frame);
        processes_ready(fds + 2, count);
    }
}

int main(int argc, char **argv)
{
    is_machine = argc != 3;
    if (is_machine) {
        mount_or_end("proc", "/proc");
        mount_or_end("sysfs", "/sys");
        mount_or_end("devtmpfs", "/dev");
        mount_or_end("devpts", "/dev/pts");
        bring_up_loopback();
        port_open(find_port());
    } else {
        port_open(atoi(argv[1]));
    }
    processes_init(is_machine ? NULL : argv[2]);
    port_write(F_HELLO, 0, "1", 1);
    serve(block_signals());
    end_machine(NULL);
}
