/* `probe reach CAPABILITY[=ARGUMENT] ...` does what the capability is for, each in a process of its
 * own, and prints a list: 0 if the kernel did it, else the errno, or -1 if this kernel cannot.
 *
 * Nothing here changes the machine, whoever runs it: what is not confined to the container is done
 * with the present value, or with arguments that the kernel refuses after it has looked at the
 * capability. The audit log gets a line that says it is a test. */
#define _GNU_SOURCE
#include "json.h"
#include "probe.h"
#include "reach.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/fs.h>
#include <linux/sched.h>
#include <net/if.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

static int choose_pid(const char *none)
{
	pid_t wanted = 7777;
	struct clone_args args = {
	    .exit_signal = SIGCHLD, .set_tid = (uintptr_t)&wanted, .set_tid_size = 1};
	long pid = syscall(SYS_clone3, &args, sizeof args);

	(void)none;
	if (!pid)
		_exit(0);
	return pid < 0 ? errno : pid == wanted ? 0 : ESRCH;
}

static int change_owner(const char *none)
{
	(void)none;
	return answer(chown("/chown", 1235, (gid_t)-1));
}

static int open_closed(const char *none)
{
	(void)none;
	return answer(open("/closed", O_RDWR | O_CLOEXEC));
}

/* ARGUMENT is TYPE:HEX:MOUNT:TEXT, the file of the handle has to begin with TEXT. */
static int open_handle(const char *argument)
{
	union {
		struct file_handle handle;
		char room[sizeof(struct file_handle) + MAX_HANDLE_SZ];
	} file;
	char *next, text[64] = {0};
	const char *mount_point;
	unsigned byte = 0;
	int mount_fd, fd;

	file.handle.handle_type = (int)strtol(argument, &next, 10);
	for (next++; *next && *next != ':'; next += 2, byte++) {
		char pair[3] = {next[0], next[1], 0};

		file.handle.f_handle[byte] = (unsigned char)strtoul(pair, NULL, 16);
	}
	file.handle.handle_bytes = byte;
	mount_point = ++next;
	next = strchr(next, ':');
	*next++ = 0;
	mount_fd = open(mount_point, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	fd = open_by_handle_at(mount_fd, &file.handle, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno;
	return read(fd, text, sizeof text - 1) > 0 && !strncmp(text, next, strlen(next)) ? 0 : EIO;
}

static int change_mode(const char *none)
{
	(void)none;
	return answer(chmod("/chmod", 0600));
}

static int keep_setgid(const char *none)
{
	struct stat status;

	(void)none;
	if (chmod("/setgid", 02755) || stat("/setgid", &status))
		return errno;
	return status.st_mode & S_ISGID ? 0 : EPERM;
}

static int lock_memory(const char *none)
{
	struct rlimit nothing = {0, 0};
	static char page[4096];

	(void)none;
	setrlimit(RLIMIT_MEMLOCK, &nothing);
	return answer(mlock(page, sizeof page));
}

static int attach_closed(const char *none)
{
	int segment = shmget(IPC_PRIVATE, 4096, IPC_CREAT); /* mode 0 */
	int result = answer((long)shmat(segment, NULL, 0));

	(void)none;
	shmctl(segment, IPC_RMID, NULL);
	return result;
}

static int signal_other(const char *pid)
{
	return answer(kill(atoi(pid), 0));
}

static int lease(const char *none)
{
	(void)none;
	return answer(fcntl(open("/lease", O_RDONLY | O_CLOEXEC), F_SETLEASE, F_RDLCK));
}

static int make_immutable(const char *none)
{
	int flags = FS_APPEND_FL, fd = open("/dev/append", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	int error = answer(ioctl(fd, FS_IOC_SETFLAGS, &flags));

	(void)none;
	return error == ENOTTY ? NOT_HERE : error; /* tmpfs before Linux 6.6 */
}

static int make_node(const char *none)
{
	(void)none;
	return answer(mknod("/node", S_IFCHR | 0600, makedev(1, 3)));
}

/* Sets what it is. */
static int set_mtu(const char *none)
{
	struct ifreq lo = {.ifr_name = "lo"};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	(void)none;
	return ioctl(fd, SIOCGIFMTU, &lo) ? errno : answer(ioctl(fd, SIOCSIFMTU, &lo));
}

static int bind_low(const char *none)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(81)};

	(void)none;
	return answer(
	    bind(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), (void *)&address, sizeof address));
}

static int open_raw(const char *none)
{
	(void)none;
	return answer(socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMP));
}

static int set_file_capability(const char *none)
{
	struct vfs_cap_data data = {.magic_etc = VFS_CAP_REVISION_2};

	(void)none;
	return answer(setxattr("/setgid", "security.capability", &data, XATTR_CAPS_SZ_2, 0));
}

static int become_group(const char *none)
{
	(void)none;
	return answer(setresgid(1234, 1234, 1234));
}

static int become_user(const char *none)
{
	(void)none;
	return answer(setresuid(1234, 1234, 1234));
}

static int drop_bounding(const char *none)
{
	(void)none;
	return answer(prctl(PR_CAPBSET_DROP, CAP_WAKE_ALARM, 0, 0, 0));
}

static int mount_here(const char *none)
{
	(void)none;
	return answer(mount("none", "/tmp", "tmpfs", 0, NULL));
}

static int change_root(const char *none)
{
	(void)none;
	return answer(chroot("/tmp"));
}

/* What is not dumpable is traced with the capability only. */
static int trace(const char *none)
{
	int ready[2], error;
	char byte;
	pid_t pid;

	(void)none;
	if (pipe(ready))
		return errno;
	pid = fork();
	if (!pid) {
		prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
		error = write(ready[1], "x", 1) != 1;
		pause();
		_exit(error);
	}
	error = read(ready[0], &byte, 1) == 1 ? answer(ptrace(PTRACE_SEIZE, pid, NULL, NULL)) : EIO;
	kill(pid, SIGKILL);
	return error;
}

static const struct {
	const char *name;
	int (*act)(const char *argument);
} ACTS[] = {
    {"cap-audit-control", audit_control},
    {"cap-audit-read", audit_read},
    {"cap-audit-write", audit_write},
    {"cap-bpf", load_bpf},
    {"cap-checkpoint-restore", choose_pid},
    {"cap-chown", change_owner},
    {"cap-dac-override", open_closed},
    {"cap-dac-read-search", open_handle},
    {"cap-fowner", change_mode},
    {"cap-fsetid", keep_setgid},
    {"cap-ipc-lock", lock_memory},
    {"cap-ipc-owner", attach_closed},
    {"cap-kill", signal_other},
    {"cap-lease", lease},
    {"cap-linux-immutable", make_immutable},
    {"cap-mknod", make_node},
    {"cap-net-admin", set_mtu},
    {"cap-net-bind-service", bind_low},
    {"cap-net-raw", open_raw},
    {"cap-perfmon", observe},
    {"cap-setfcap", set_file_capability},
    {"cap-setgid", become_group},
    {"cap-setpcap", drop_bounding},
    {"cap-setuid", become_user},
    {"cap-sys-admin", mount_here},
    {"cap-sys-boot", restart},
    {"cap-sys-chroot", change_root},
    {"cap-sys-module", load_module},
    {"cap-sys-nice", raise_priority},
    {"cap-sys-pacct", account},
    {"cap-sys-ptrace", trace},
    {"cap-sys-rawio", use_ports},
    {"cap-sys-resource", raise_limit},
    {"cap-sys-time", set_clock},
    {"cap-sys-tty-config", hang_up},
    {"cap-syslog", ask_log},
    {"cap-wake-alarm", set_alarm},
};

static int act(const char *name, const char *argument)
{
	for (size_t i = 0; i < sizeof ACTS / sizeof *ACTS; i++)
		if (!strcmp(ACTS[i].name, name))
			return ACTS[i].act(argument);
	return EINVAL;
}

int reach(int argc, char **argv)
{
	open_list(NULL);
	for (int i = 0; i < argc; i++) {
		char *argument = strchr(argv[i], '=');
		pid_t pid;
		int status;

		if (argument)
			*argument++ = 0;
		pid = fork();
		if (!pid)
			_exit(act(argv[i], argument ? argument : ""));
		if (pid < 0 || waitpid(pid, &status, 0) < 0 || !WIFEXITED(status))
			return 2;
		put_number(NULL, WEXITSTATUS(status) == NOT_HERE ? -1 : WEXITSTATUS(status));
	}
	close_list();
	putchar('\n');
	return 0;
}
