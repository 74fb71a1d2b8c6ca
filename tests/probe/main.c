/* The probe: a static program that runs inside a container and prints what it sees as JSON.
 *
 *   probe [report] [file:PATH ...]   everything it can find out about itself and its surroundings
 *   probe try CALL:PATH ...          one answer per call: 0 or the errno (see attempt.c)
 *   probe call NUMBER,ARGUMENT...  0 or the errno of each system call (see call.c)
 *   probe reach CAPABILITY[=ARGUMENT] ...  0 or the errno of what each is for (see reach.c)
 *   probe wait [STATUS]              prints "ready", stays until SIGTERM, exits with STATUS
 *   probe trap                       prints "ready" and the number of each signal; SIGTERM ends it with 33
 *   probe bomb                       forks for ever; half of what it forks ends, half does the same
 *   probe orphan SECONDS             leaves a grandchild behind that lives so long, exits 0
 *   probe count [connected | locked FILE]   prints numbers for ever (see count.c)
 *   probe stalk                      prints "ready" and every process it could look into but should not
 *   probe crash                      dies of a SIGSEGV even as process 1
 *   probe spy [TEXT]                 tells what it can reach of the runtime's processes (see spy.c)
 *   probe peek [once] WORD ...      where it finds WORDs in others' command line, environment, memory
 *   probe notify WORD ...            says things to $NOTIFY_SOCKET (see notify.c)
 *   probe exit STATUS
 *   probe measure FILE COMMAND ...   on the host: runs it, writes the peak resident KiB to FILE
 *   probe record FILE [STATUS]       as a hook: the report with all of "stdin", written to FILE
 *
 * It needs nothing from the container's root: no library, no shell, no /proc (what it cannot read
 * is null).
 */
#include "json.h"
#include "probe.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *stdin_text;

const char *slurp(const char *path)
{
	static char text[1 << 16];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t have = 0;
	ssize_t n;

	if (fd < 0)
		return NULL;
	while (have < sizeof text - 1 && (n = read(fd, text + have, sizeof text - 1 - have)) > 0)
		have += (size_t)n;
	close(fd);
	text[have] = 0;
	return text;
}

static int report(int argc, char **argv);

/* Hooks talk to nobody: what one sees goes to a file, which appears complete or not at all. */
static int record(int argc, char **argv)
{
	static char input[1 << 20];
	char part[4096];
	size_t have = 0;
	ssize_t n;

	while (have < sizeof input - 1 && (n = read(0, input + have, sizeof input - 1 - have)) > 0)
		have += (size_t)n;
	snprintf(part, sizeof part, "%s.part", argv[2]);
	if (!freopen(part, "w", stdout))
		return 97;
	stdin_text = input;
	if (report(argc, argv) || rename(part, argv[2]))
		return 96;
	return argc > 3 ? atoi(argv[3]) : 0;
}

static int report(int argc, char **argv)
{
	open_object(NULL);
	report_descriptors(); /* first: before anything below opens one */
	report_identity(argc, argv);
	report_rights();
	report_limits();
	report_settings();
	report_mounts();
	report_namespaces();
	report_devices();
	report_network();
	report_files(argc, argv);
	if (stdin_text)
		put_text("stdin", stdin_text);
	close_object();
	putchar('\n');
	return fflush(stdout) ? 1 : 0;
}

int main(int argc, char **argv)
{
	const char *verb = argc > 1 ? argv[1] : "report";

	if (!strcmp(verb, "try"))
		return attempt(argc - 2, argv + 2);
	if (!strcmp(verb, "call"))
		return call(argc - 2, argv + 2);
	if (!strcmp(verb, "reach"))
		return reach(argc - 2, argv + 2);
	if (!strcmp(verb, "notify"))
		return notify(argc - 2, argv + 2);
	if (!strcmp(verb, "wait"))
		return act_wait(argc, argv);
	if (!strcmp(verb, "trap"))
		return act_trap();
	if (!strcmp(verb, "count"))
		return act_count(argc, argv);
	if (!strcmp(verb, "bomb"))
		return act_bomb();
	if (!strcmp(verb, "stalk"))
		return act_stalk();
	if (!strcmp(verb, "crash"))
		return act_crash();
	if (!strcmp(verb, "spy"))
		return act_spy(argc, argv);
	if (!strcmp(verb, "peek"))
		return act_peek(argc, argv);
	if (!strcmp(verb, "orphan"))
		return act_orphan(argc, argv);
	if (!strcmp(verb, "record") && argc > 2)
		return record(argc, argv);
	if (!strcmp(verb, "measure") && argc > 3)
		return act_measure(argv[2], argv + 3);
	if (!strcmp(verb, "exit"))
		return argc > 2 ? atoi(argv[2]) : 0;
	return report(argc, argv);
}
