/* vaultstream-listen COMMAND [ARGUMENT...]: listens on the port of a worker's health and metrics, then becomes the command.
 *
 * The kubelet asks a worker whether it is ready as soon as its container runs: some milliseconds before Python has started. The port is
 * open by then, so that the question waits for its answer instead of being refused. The socket is passed on as a service manager would
 * pass it (sd_listen_fds(3)): as descriptor 3, with LISTEN_PID and LISTEN_FDS. Without VAULTSTREAM_METRICS_PORT, or if anything
 * fails, the command starts without it, and reports what is wrong when it listens itself. So it does if its first argument is not
 * `worker`: others, like `run`, leave the port to the workers that they start.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <stdbool.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { FIRST_PASSED = 3, BACKLOG = 128, NOT_FOUND = 127, NOT_RUN = 126 };

/* Returns the port that a worker is told to serve on, or 0. */
static in_port_t told_port(void)
{
	const char *told = getenv("VAULTSTREAM_METRICS_PORT");
	char *end = NULL;
	const long port = told == NULL ? 0 : strtol(told, &end, 10);

	return end != NULL && end != told && *end == '\0' && port > 0 && port <= 65535 ? (in_port_t)port : 0;
}

/* Returns a socket that listens on all addresses of IPv4, as the worker does by default, or -1. */
static int listening(in_port_t port)
{
	const struct sockaddr_in any = { .sin_family = AF_INET, .sin_port = htons(port) };
	const int opened = socket(AF_INET, SOCK_STREAM, 0), yes = 1;

	if (opened < 0)
		return -1;
	if (setsockopt(opened, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) == 0 &&
	    bind(opened, (const struct sockaddr *)&any, sizeof any) == 0 && listen(opened, BACKLOG) == 0)
		return opened;
	close(opened);
	return -1;
}

/* Makes a socket the first descriptor that is passed on. */
static bool passed(int opened)
{
	char self[24];

	if (opened != FIRST_PASSED && (dup2(opened, FIRST_PASSED) < 0 || close(opened) < 0))
		return false;
	snprintf(self, sizeof self, "%ld", (long)getpid());
	return setenv("LISTEN_PID", self, 1) == 0 && setenv("LISTEN_FDS", "1", 1) == 0;
}

int main(int count, char **words)
{
	const char *host = getenv("VAULTSTREAM_METRICS_HOST");
	const bool worker = count > 2 && strcmp(words[2], "worker") == 0;
	const bool anywhere = host == NULL || *host == '\0' || strcmp(host, "0.0.0.0") == 0;
	const in_port_t port = worker && anywhere ? told_port() : 0;
	const int opened = port == 0 ? -1 : listening(port);

	if (opened >= 0 && !passed(opened))
		close(opened);
	if (count < 2) {
		fputs("Usage: vaultstream-listen COMMAND [ARGUMENT...]\n", stderr);
		return 2;
	}
	execvp(words[1], words + 1);
	fprintf(stderr, "error: %s can't be started: %s.\n", words[1], strerror(errno));
	return errno == ENOENT ? NOT_FOUND : NOT_RUN;
}
