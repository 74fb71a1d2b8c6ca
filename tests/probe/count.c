/* Counting: what must go on where it was when a container is saved and made again.
 *
 *   count                    numbers on stdout, a line each, twenty a second
 *   count connected          the same, through a TCP connection of its own over loopback
 *   count locked FILE        the same, while FILE is locked; exits 1 when it is locked already
 */
#include "probe.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <unistd.h>

static int count_to(int fd)
{
	for (long number = 1;; number++) {
		if (dprintf(fd, "%ld\n", number) < 0)
			return 99;
		usleep(50000);
	}
}

static int count_connected(void)
{
	struct sockaddr_in place = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t size = sizeof place;
	int listener = socket(AF_INET, SOCK_STREAM, 0), ours = socket(AF_INET, SOCK_STREAM, 0), theirs;
	char piece[512];
	ssize_t n;

	if (bind(listener, (struct sockaddr *)&place, size) || listen(listener, 1) ||
	    getsockname(listener, (struct sockaddr *)&place, &size) ||
	    connect(ours, (struct sockaddr *)&place, size) || (theirs = accept(listener, NULL, NULL)) < 0) {
		perror("connecting over loopback");
		return 98;
	}
	close(listener);
	if (fork() == 0)
		return count_to(ours);
	close(ours);
	while ((n = read(theirs, piece, sizeof piece)) > 0)
		if (write(STDOUT_FILENO, piece, (size_t)n) != n)
			return 99;
	perror("the connection");
	return 97;
}

int act_count(int argc, char **argv)
{
	if (argc > 2 && !strcmp(argv[2], "connected"))
		return count_connected();
	if (argc > 3 && !strcmp(argv[2], "locked")) {
		int fd = open(argv[3], O_RDWR | O_CREAT, 0600);

		if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB))
			return 1;
	}
	return count_to(STDOUT_FILENO);
}
