/* The ways the probe stays, ends and is signalled. */
#include "probe.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile sig_atomic_t ended;

static void say(const char *text)
{
	if (write(STDOUT_FILENO, text, strlen(text)) < 0)
		_exit(99);
}

static void on_term(int number)
{
	(void)number;
	ended = 1;
}

static void on_any(int number)
{
	char line[] = "got 00\n";

	line[4] = (char)('0' + number / 10);
	line[5] = (char)('0' + number % 10);
	say(line);
	if (number == SIGTERM)
		ended = 1;
}

static void stay(void)
{
	sigset_t all, before;

	/* Blocked while looking, open while sleeping: a signal in between is not lost. */
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, &before);
	while (!ended)
		sigsuspend(&before);
}

int act_wait(int argc, char **argv)
{
	signal(SIGTERM, on_term);
	say("ready\n");
	stay();
	return argc > 2 ? atoi(argv[2]) : 0;
}

int act_trap(void)
{
	for (int number = 1; number < 32; number++)
		if (number != SIGKILL && number != SIGSTOP && number != SIGCHLD)
			signal(number, on_any);
	say("ready\n");
	stay();
	return 33;
}

int act_bomb(void)
{
	for (;;) {
		pid_t pid = fork();

		if (pid == 0 && getpid() % 2) {
			usleep(500);
			_exit(0);
		}
		if (pid < 0) /* the limit is reached; it may not be a moment later */
			usleep(1000);
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
	}
}

int act_crash(void)
{
	signal(SIGSEGV, SIG_DFL);
	*(volatile int *)8 = 1; /* a fault is forced upon process 1 too; kill(2) would be ignored */
	return 98;
}

int act_orphan(int argc, char **argv)
{
	unsigned seconds = argc > 2 ? (unsigned)atoi(argv[2]) : 1;

	if (fork() == 0) {
		if (fork() == 0) {
			close(0);
			close(1);
			close(2);
			sleep(seconds);
		}
		_exit(0);
	}
	usleep(50000);
	return 0;
}

/* A small parent: a child's peak begins with what its parent had when it was forked. */
int act_measure(const char *file, char **command)
{
	struct rusage usage;
	int status = 0;
	FILE *out;
	pid_t pid = fork();

	if (pid == 0) {
		execv(command[0], command);
		_exit(127);
	}
	if (pid < 0 || wait4(pid, &status, 0, &usage) < 0 || !(out = fopen(file, "w")))
		return 99;
	fprintf(out, "%ld", usage.ru_maxrss);
	fclose(out);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
