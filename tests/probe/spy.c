/* What a process of a container can learn of others that enter its namespaces (CVE-2016-9962). */
#include "probe.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile sig_atomic_t ended;
static const char *wanted = "";

static void on_term(int number)
{
	(void)number;
	ended = 1;
}

/* The runtime's own processes still have its command line; what they become is a probe as well. */
static int is_runtime(const char *pid)
{
	char path[64], line[4096] = "";
	int fd;
	ssize_t n;

	snprintf(path, sizeof path, "/proc/%s/cmdline", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	n = read(fd, line, sizeof line - 1);
	close(fd);
	for (ssize_t i = 0; i < n - 1; i++)
		if (!line[i])
			line[i] = ' ';
	return strstr(line, "ocirun") && strstr(line, wanted);
}

static void tell(const char *pid, const char *what, const char *found)
{
	if (is_runtime(pid))
		printf("reached %s %s %s\n", pid, what, found);
}

static void look_at(const char *pid)
{
	static const char *const links[] = {"cwd", "root", "exe"};
	char path[320], target[256];
	struct dirent *entry;
	ssize_t n;
	DIR *fds;

	for (unsigned i = 0; i < sizeof links / sizeof *links; i++) {
		snprintf(path, sizeof path, "/proc/%s/%s", pid, links[i]);
		n = readlink(path, target, sizeof target - 1);
		if (n > 0) {
			target[n] = 0;
			tell(pid, links[i], target);
		}
	}
	snprintf(path, sizeof path, "/proc/%s/fd", pid);
	fds = opendir(path);
	while (fds && (entry = readdir(fds))) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof path, "/proc/%s/fd/%s", pid, entry->d_name);
		n = readlink(path, target, sizeof target - 1);
		if (n > 0) {
			target[n] = 0;
			tell(pid, entry->d_name, target);
		}
	}
	if (fds)
		closedir(fds);
	snprintf(path, sizeof path, "/proc/%s/mem", pid);
	int mem = open(path, O_RDWR | O_CLOEXEC);
	if (mem >= 0) {
		tell(pid, "mem", "opened");
		close(mem);
	}
	if (ptrace(PTRACE_SEIZE, atoi(pid), 0, 0) == 0) {
		tell(pid, "ptrace", "seized");
		ptrace(PTRACE_INTERRUPT, atoi(pid), 0, 0);
		waitpid(atoi(pid), NULL, __WALL);
		ptrace(PTRACE_DETACH, atoi(pid), 0, 0);
	}
}

/* Look at every process of the runtime in sight, over and over; after SIGTERM say at how many
   looks. */
int act_spy(int argc, char **argv)
{
	int looks = 0;

	if (argc > 2)
		wanted = argv[2];
	signal(SIGTERM, on_term);
	printf("ready\n");
	fflush(stdout);
	while (!ended) {
		DIR *proc = opendir("/proc");
		struct dirent *entry;

		while (proc && (entry = readdir(proc))) {
			int pid = atoi(entry->d_name);

			if (pid > 1 && pid != getpid() && is_runtime(entry->d_name)) {
				looks++;
				look_at(entry->d_name);
			}
		}
		if (proc)
			closedir(proc);
	}
	printf("looked %d\n", looks);
	return fflush(stdout) ? 1 : 0;
}
