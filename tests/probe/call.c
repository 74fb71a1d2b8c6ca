/* `probe call NUMBER[,ARGUMENT...] ...` makes system calls by number and prints 0 or the errno of
 * each. A number after "i386:" goes through the gate of 32-bit programs, where there is one. */
#include "json.h"
#include "probe.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void on_sys(int number)
{
	static const char text[] = "SIGSYS\n";

	(void)number;
	if (write(STDOUT_FILENO, text, sizeof text - 1) < 0)
		_exit(99);
	_exit(77);
}

static long call_i386(const unsigned long *arguments)
{
#ifdef __x86_64__
	long result;

	__asm__ volatile("int $0x80"
			 : "=a"(result)
			 : "a"(arguments[0]), "b"(arguments[1]), "c"(arguments[2]), "d"(arguments[3])
			 : "memory", "r8", "r9", "r10", "r11");
	if (result < 0 && result > -4096) {
		errno = (int)-result;
		return -1;
	}
	return result;
#else
	(void)arguments;
	errno = ENOTSUP;
	return -1;
#endif
}

int call(int argc, char **argv)
{
	signal(SIGSYS, on_sys); /* only SCMP_ACT_TRAP gets here: the others kill */
	open_list(NULL);
	for (int i = 0; i < argc; i++) {
		unsigned long a[7] = {0};
		char *text = argv[i];
		int foreign = !strncmp(text, "i386:", 5);
		long result;

		if (foreign)
			text += 5;
		for (int n = 0; n < 7 && text; n++) {
			a[n] = strtoul(text, &text, 0);
			text = *text == ',' ? text + 1 : NULL;
		}
		errno = 0;
		result = foreign ? call_i386(a) : syscall((long)a[0], a[1], a[2], a[3], a[4], a[5], a[6]);
		put_number(NULL, result == -1 ? errno : 0);
	}
	close_list();
	putchar('\n');
	return 0;
}
