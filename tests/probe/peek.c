/* What a process with CAP_SYS_PTRACE reads of others in its pid namespace that are no programs of
   the container: command line, environment, memory. */
#define _GNU_SOURCE
#include "probe.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LARGEST = 64 << 20 };

static volatile sig_atomic_t ended;

static void on_term(int number)
{
	(void)number;
	ended = 1;
}

/* Only a program of the container has one of these; of anything else the link is not to be seen,
   or leads to the runtime. */
static int is_program(const char *pid)
{
	char path[64], exe[4096];
	ssize_t length;

	snprintf(path, sizeof path, "/proc/%s/exe", pid);
	length = readlink(path, exe, sizeof exe - 1);
	exe[length > 0 ? length : 0] = 0;
	return !strcmp(exe, "/probe") || !strcmp(exe, "/bin/busybox");
}

static void search(const char *pid, const char *place, const char *text, size_t length, char **words)
{
	for (; *words; words++)
		if (memmem(text, length, *words, strlen(*words)))
			printf("found %s %s %s\n", pid, place, *words);
}

static int look_in_file(const char *pid, const char *name, char **words)
{
	static char text[1 << 20];
	char path[64];
	size_t have = 0;
	ssize_t n;
	int fd;

	snprintf(path, sizeof path, "/proc/%s/%s", pid, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	while (have < sizeof text && (n = read(fd, text + have, sizeof text - have)) > 0)
		have += (size_t)n;
	close(fd);
	search(pid, name, text, have, words);
	return have > 0;
}

/* Everything writable: heap, stack, data. */
static int look_in_memory(const char *pid, char **words)
{
	char path[64], line[512];
	unsigned long first, last;
	int mem, read_any = 0;
	FILE *maps;

	snprintf(path, sizeof path, "/proc/%s/maps", pid);
	maps = fopen(path, "re");
	snprintf(path, sizeof path, "/proc/%s/mem", pid);
	mem = open(path, O_RDONLY | O_CLOEXEC);
	while (maps && mem >= 0 && fgets(line, sizeof line, maps)) {
		char rights[5], *copy;
		ssize_t n;

		if (sscanf(line, "%lx-%lx %4s", &first, &last, rights) != 3 || rights[1] != 'w' ||
		    last - first > LARGEST || !(copy = malloc(last - first)))
			continue;
		n = pread(mem, copy, last - first, (off_t)first);
		if (n > 0) {
			read_any = 1;
			search(pid, "memory", copy, (size_t)n, words);
		}
		free(copy);
	}
	if (maps)
		fclose(maps);
	if (mem >= 0)
		close(mem);
	return read_any;
}

static void turn_round(char *word)
{
	for (size_t i = 0, j = strlen(word); i + 1 < j; i++) {
		char last = word[--j];

		word[j] = word[i];
		word[i] = last;
	}
}

/* `once` looks at all a single time; else over and over until SIGTERM. The words are given backwards:
   the runtime has read them in config.json, and is not to be found out by that. */
int act_peek(int argc, char **argv)
{
	int once = argc > 2 && !strcmp(argv[2], "once"), lines = 0, environments = 0, memories = 0;
	char **words = argv + 2 + once;

	for (char **word = words; *word; word++)
		turn_round(*word);
	signal(SIGTERM, on_term);
	printf("ready\n");
	fflush(stdout);
	do {
		DIR *proc = opendir("/proc");
		struct dirent *entry;

		while (proc && (entry = readdir(proc))) {
			if (atoi(entry->d_name) < 1 || atoi(entry->d_name) == getpid() ||
			    is_program(entry->d_name))
				continue;
			lines += look_in_file(entry->d_name, "cmdline", words);
			environments += look_in_file(entry->d_name, "environ", words);
			memories += look_in_memory(entry->d_name, words);
		}
		if (proc)
			closedir(proc);
		fflush(stdout);
	} while (!once && !ended);
	printf("looked at %d command lines, %d environments, %d memories\n", lines, environments, memories);
	return fflush(stdout) ? 1 : 0;
}
