/* `probe stalk`: tries, as fast as it can, to look into every process that appears beside it.
 *
 * What may be looked into is a program of the container, and their names are known. Anything else
 * is the runtime on its way in, caught before its execve (CVE-2016-9962).
 */
#define _GNU_SOURCE
#include "probe.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

static int is_ours(const char *exe)
{
	return !strcmp(exe, "/probe") || !strcmp(exe, "/bin/busybox");
}

static void look(pid_t pid)
{
	static const char *const names[] = {"fd", "fdinfo", "map_files", "ns", NULL};
	char path[64], exe[4096];
	ssize_t length;
	int fd;

	snprintf(path, sizeof path, "/proc/%d/exe", pid);
	length = readlink(path, exe, sizeof exe - 1);
	if (length > 0) {
		exe[length] = 0;
		if (!is_ours(exe))
			printf("%d: exe is %s\n", pid, exe);
		return;
	}
	/* Its executable is not to be seen: then nothing else is, while that stays so. */
	for (int i = 0; names[i]; i++) {
		snprintf(path, sizeof path, "/proc/%d/%s", pid, names[i]);
		fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (fd < 0)
			continue;
		close(fd);
		snprintf(path, sizeof path, "/proc/%d/exe", pid);
		length = readlink(path, exe, sizeof exe - 1);
		exe[length > 0 ? length : 0] = 0;
		if (length > 0 && !is_ours(exe))
			printf("%d: %s was open, exe is %s\n", pid, names[i], exe);
	}
	if (!ptrace(PTRACE_SEIZE, pid, NULL, NULL)) {
		snprintf(path, sizeof path, "/proc/%d/exe", pid);
		length = readlink(path, exe, sizeof exe - 1);
		exe[length > 0 ? length : 0] = 0;
		if (!ptrace(PTRACE_INTERRUPT, pid, NULL, NULL))
			waitpid(pid, NULL, __WALL);
		ptrace(PTRACE_DETACH, pid, NULL, NULL);
		if (length > 0 && !is_ours(exe))
			printf("%d: was traced, exe is %s\n", pid, exe);
	}
}

int act_stalk(void)
{
	long seen = 0, last = 0;

	puts("ready");
	fflush(stdout);
	for (;;) {
		/* Pids are given out in order: look at the next few, without listing anything. A
		 * runtime written in Go takes a dozen of them, for its threads. */
		for (pid_t pid = 2; pid < last + 40; pid++) {
			char path[64];

			snprintf(path, sizeof path, "/proc/%d/stat", pid);
			if (access(path, F_OK))
				continue;
			if (pid > last) {
				last = pid;
				printf("met %ld\n", ++seen);
			}
			look(pid);
		}
		fflush(stdout);
	}
}
