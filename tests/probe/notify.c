/* `probe notify WORD ...` says each word to $NOTIFY_SOCKET and prints "said WORD ERRNO".
 *
 *   sleep:MS     waits instead         stay       waits for good; SIGTERM ends it
 *   flood:N      N words of nonsense   huge:N     N bytes of nonsense, then a line READY=1
 *   fds:N        a word with N descriptors of the root
 *   exit:STATUS  ends
 */
#define _GNU_SOURCE
#include "probe.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int say(const char *text, size_t length, int fds)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct iovec piece = {(void *)text, length};
	static char control[CMSG_SPACE(200 * sizeof(int))];
	struct msghdr message = {&address, sizeof address, &piece, 1, NULL, 0, 0};
	int sock = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), root = open("/", O_RDONLY), failed;

	if (!path)
		return ENODATA;
	strncpy(address.sun_path, path, sizeof address.sun_path - 1);
	if (fds) {
		struct cmsghdr *header = (struct cmsghdr *)control;

		message.msg_control = control;
		message.msg_controllen = CMSG_SPACE((size_t)fds * sizeof(int));
		header->cmsg_level = SOL_SOCKET;
		header->cmsg_type = SCM_RIGHTS;
		header->cmsg_len = CMSG_LEN((size_t)fds * sizeof(int));
		for (int i = 0; i < fds; i++)
			memcpy(CMSG_DATA(header) + (size_t)i * sizeof(int), &root, sizeof root);
	}
	failed = sendmsg(sock, &message, MSG_NOSIGNAL) < 0 ? errno : 0;
	close(sock);
	close(root);
	return failed;
}

static int say_huge(size_t length)
{
	static const char end[] = "\nREADY=1\n";
	char *text = malloc(length + sizeof end);
	int failed;

	memset(text, 'x', length);
	memcpy(text + length, end, sizeof end);
	failed = say(text, length + sizeof end - 1, 0);
	free(text);
	return failed;
}

int notify(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (int i = 0; i < argc; i++) {
		const char *word = argv[i], *colon = strchr(word, ':');
		int number = colon ? atoi(colon + 1) : 0, failed = 0;

		if (!strcmp(word, "stay"))
			return act_wait(1, argv);
		if (!strncmp(word, "exit:", 5))
			return number;
		if (!strncmp(word, "sleep:", 6))
			usleep((useconds_t)number * 1000);
		else if (!strncmp(word, "huge:", 5))
			failed = say_huge((size_t)number);
		else if (!strncmp(word, "fds:", 4))
			failed = say("STATUS=fds", 10, number);
		else if (!strncmp(word, "flood:", 6))
			while (number-- > 0 && !failed)
				failed = say("STATUS=flood\nWATCHDOG=1", 22, 0);
		else
			failed = say(word, strlen(word), 0);
		printf("said %s %d\n", word, failed);
	}
	return 0;
}
