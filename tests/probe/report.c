/* Who and what this process is: ids, rights, limits, descriptors. */
#define _GNU_SOURCE
#include "json.h"
#include "probe.h"

#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <termios.h>
#include <unistd.h>

extern char **environ;

static const char *status_line(const char *name)
{
	static char value[256];
	const char *text = slurp("/proc/self/status");
	size_t length = strlen(name);

	for (const char *line = text; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL)
		if (!strncmp(line, name, length) && line[length] == ':') {
			snprintf(value, sizeof value, "%s", line + length + 1 + strspn(line + length + 1, "\t "));
			value[strcspn(value, "\n")] = 0;
			return value;
		}
	return NULL;
}

static void report_tty(void)
{
	struct winsize size;

	open_object("tty");
	for (int fd = 0; fd < 3; fd++) {
		char key[2] = {(char)('0' + fd), 0};
		put_text(key, isatty(fd) ? ttyname(fd) ? ttyname(fd) : "unnamed" : NULL);
	}
	if (!ioctl(0, TIOCGWINSZ, &size)) {
		put_number("height", size.ws_row);
		put_number("width", size.ws_col);
	}
	put_number("controlling", open("/dev/tty", O_RDWR | O_CLOEXEC) >= 0);
	close_object();
}

void report_identity(int argc, char **argv)
{
	char cwd[4096];
	uid_t real, effective, saved;
	gid_t rgid, egid, sgid, groups[256];
	int count, death = 0;
	mode_t mask = umask(0);

	umask(mask);
	open_list("argv");
	for (int i = 0; i < argc; i++)
		put_text(NULL, argv[i]);
	close_list();
	open_list("env");
	for (char **entry = environ; *entry; entry++)
		put_text(NULL, *entry);
	close_list();
	put_text("cwd", getcwd(cwd, sizeof cwd));
	getresuid(&real, &effective, &saved);
	getresgid(&rgid, &egid, &sgid);
	open_list("uids");
	put_unsigned(NULL, real), put_unsigned(NULL, effective), put_unsigned(NULL, saved);
	close_list();
	open_list("gids");
	put_unsigned(NULL, rgid), put_unsigned(NULL, egid), put_unsigned(NULL, sgid);
	close_list();
	count = getgroups(256, groups);
	open_list("groups");
	for (int i = 0; i < count; i++)
		put_unsigned(NULL, groups[i]);
	close_list();
	put_unsigned("umask", mask);
	put_number("pid", getpid());
	put_number("ppid", getppid());
	put_number("sid", getsid(0));
	put_number("pgid", getpgid(0));
	prctl(PR_GET_PDEATHSIG, &death);
	put_number("pdeathsig", death);
	put_unsigned("personality", (unsigned)personality(0xffffffff));
	report_tty();
}

static void put_capabilities(const char *key, unsigned low, unsigned high)
{
	put_unsigned(key, (unsigned long long)high << 32 | low);
}

void report_rights(void)
{
	struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct data[2];
	unsigned long long bounding = 0, ambient = 0;

	for (int cap = 0; cap < 64; cap++) {
		if (prctl(PR_CAPBSET_READ, cap, 0, 0, 0) == 1)
			bounding |= 1ULL << cap;
		if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, cap, 0, 0) == 1)
			ambient |= 1ULL << cap;
	}
	open_object("capabilities");
	if (!syscall(SYS_capget, &header, data)) {
		put_capabilities("effective", data[0].effective, data[1].effective);
		put_capabilities("permitted", data[0].permitted, data[1].permitted);
		put_capabilities("inheritable", data[0].inheritable, data[1].inheritable);
	}
	put_unsigned("bounding", bounding);
	put_unsigned("ambient", ambient);
	close_object();
	put_number("securebits", prctl(PR_GET_SECUREBITS, 0, 0, 0, 0));
	put_flag("no_new_privs", prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1);
	put_flag("dumpable", prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 1);
	put_flag("keepcaps", prctl(PR_GET_KEEPCAPS, 0, 0, 0, 0) == 1);
	put_text("seccomp", status_line("Seccomp"));
	open_object("signals");
	put_text("ignored", status_line("SigIgn"));
	put_text("blocked", status_line("SigBlk"));
	put_text("caught", status_line("SigCgt"));
	put_text("pending", status_line("ShdPnd"));
	close_object();
}

void report_limits(void)
{
	static const char *names[] = {"CPU", "FSIZE", "DATA", "STACK", "CORE", "RSS", "NPROC", "NOFILE",
		"MEMLOCK", "AS", "LOCKS", "SIGPENDING", "MSGQUEUE", "NICE", "RTPRIO", "RTTIME"};
	const char *text;
	cpu_set_t cpus;

	open_object("rlimits");
	for (int i = 0; i < 16; i++) {
		struct rlimit64 limit;
		if (getrlimit64(i, &limit))
			continue;
		open_list(names[i]);
		put_unsigned(NULL, limit.rlim_cur);
		put_unsigned(NULL, limit.rlim_max);
		close_list();
	}
	close_object();
	text = slurp("/proc/self/oom_score_adj");
	if (text)
		put_number("oom_score_adj", atoi(text));
	else
		put_null("oom_score_adj");
	put_number("cpus", sched_getaffinity(0, sizeof cpus, &cpus) ? -1 : CPU_COUNT(&cpus));
}

void report_descriptors(void)
{
	open_object("fds");
	for (int fd = 0; fd < 1024; fd++) {
		char key[16], link[64], target[4096];
		ssize_t n;
		if (fcntl(fd, F_GETFD) < 0)
			continue;
		snprintf(key, sizeof key, "%d", fd);
		snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
		n = readlink(link, target, sizeof target - 1);
		if (n >= 0)
			target[n] = 0;
		put_text(key, n < 0 ? "?" : target);
	}
	close_object();
}
