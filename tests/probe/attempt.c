/* `probe try CALL:PATH ...` prints a list: for each attempt the call and 0 or the errno. */
#define _GNU_SOURCE
#include "json.h"
#include "probe.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

enum { KEYCTL_SEARCH = 10, SESSION_KEYRING = -3 };

static int opened(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC | O_NONBLOCK, 0600);

	if (fd < 0)
		return errno;
	close(fd);
	return 0;
}

static int read_byte(const char *path)
{
	char byte;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	ssize_t n;
	int error;

	if (fd < 0)
		return errno;
	n = read(fd, &byte, 1);
	error = n < 0 ? errno : 0;
	close(fd);
	return n == 0 ? -1 : error; /* -1: opened, and empty */
}

static int one(const char *call, const char *path)
{
	if (!strcmp(call, "write")) /* open for writing, nothing is written */
		return opened(path, O_WRONLY);
	if (!strcmp(call, "open"))
		return opened(path, O_RDONLY);
	if (!strcmp(call, "read"))
		return read_byte(path);
	if (!strcmp(call, "create"))
		return opened(path, O_WRONLY | O_CREAT | O_EXCL);
	if (!strcmp(call, "mkdir"))
		return mkdir(path, 0700) ? errno : 0;
	if (!strcmp(call, "unlink"))
		return unlink(path) ? errno : 0;
	if (!strcmp(call, "stat")) {
		struct stat s;
		return lstat(path, &s) ? errno : 0;
	}
	if (!strcmp(call, "mknod")) /* the null device under that name */
		return mknod(path, S_IFCHR | 0600, makedev(1, 3)) ? errno : 0;
	if (!strcmp(call, "mknodb")) /* the first loop device: refused by default device rules */
		return mknod(path, S_IFBLK | 0600, makedev(7, 0)) ? errno : 0;
	if (!strcmp(call, "mount"))
		return mount("none", path, "tmpfs", 0, NULL) ? errno : 0;
	if (!strcmp(call, "umount"))
		return umount2(path, MNT_DETACH) ? errno : 0;
	if (!strcmp(call, "chroot"))
		return chroot(path) ? errno : 0;
	if (!strcmp(call, "hostname"))
		return sethostname(path, strlen(path)) ? errno : 0;
	if (!strcmp(call, "key")) /* look a user key up in the session keyring */
		return syscall(SYS_keyctl, KEYCTL_SEARCH, SESSION_KEYRING, "user", path, 0) < 0 ? errno : 0;
	if (!strcmp(call, "nice")) {
		errno = 0;
		return nice(-1) == -1 ? errno : 0;
	}
	return -2;
}

int attempt(int argc, char **argv)
{
	open_list(NULL);
	for (int i = 0; i < argc; i++) {
		char *colon = strchr(argv[i], ':');
		int error;

		if (!colon)
			return 2;
		*colon = 0;
		error = one(argv[i], colon + 1);
		if (error == -2)
			return 2;
		open_object(NULL);
		put_text("call", argv[i]);
		put_text("path", colon + 1);
		put_number("errno", error);
		close_object();
	}
	close_list();
	putchar('\n');
	return 0;
}
