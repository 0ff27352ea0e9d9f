/* Sends a file, and does not sit out a stall: when nothing has moved for a while it has REAP look for another path.
 *
 *   push serve PORT FILE                        takes one file
 *   push [-l LOCAL] HOST PORT FILE [STALL-MS]   default 500
 *
 * cc push.c $(pkg-config --cflags --libs shim) -o push
 */
#include "example.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>

static char data[65536];

static int serve(const char *port, const char *name) {
    int fd = accept(wait_at(SOCK_STREAM, port), NULL, NULL);
    int file = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    unsigned long long total = 0;
    ssize_t n;
    if (fd < 0 || file < 0)
        die(name);
    while ((n = read(fd, data, sizeof data)) > 0) {
        if (write(file, data, (size_t)n) != n)
            die(name);
        total += (unsigned long long)n;
    }
    if (n < 0 || close(file) != 0)
        die(name);
    printf("received %llu\n", total);
    close(fd);
    return 0;
}

/* Octets that the peer has not acknowledged. */
static int waiting(int fd) {
    int n = 0;
    if (ioctl(fd, SIOCOUTQ, &n) != 0)
        die("SIOCOUTQ");
    return n;
}

int main(int argc, char **argv) {
    const char *local = NULL;
    struct shim_handle *shim = NULL;
    int fd, file, stall, still = 0, explored = 0, left = 0, end = 0, before;
    size_t length = 0, done = 0;
    unsigned long long total = 0;

    signal(SIGPIPE, SIG_IGN);
    if (argc == 4 && strcmp(argv[1], "serve") == 0)
        return serve(argv[2], argv[3]);
    if (argc > 3 && strcmp(argv[1], "-l") == 0)
        local = argv[2], argv += 2, argc -= 2;
    if (argc != 4 && argc != 5) {
        fprintf(stderr, "usage: push serve PORT FILE | push [-l LOCAL] HOST PORT FILE [STALL-MS]\n");
        return 2;
    }
    stall = argc == 5 ? atoi(argv[4]) : 500;
    file = open(argv[3], O_RDONLY | O_CLOEXEC);
    if (file < 0)
        die(argv[3]);
    fd = connect_to(SOCK_STREAM, local, argv[1], argv[2]);
    if (fcntl(fd, F_SETFL, O_NONBLOCK) != 0)
        die("O_NONBLOCK");
    if (shim_open(NULL, 2000, &shim) != SHIM_OK || shim_set(shim, fd) != SHIM_OK)
        printf("no shim: %s\n", shim_last_error());
    /* All is well while octets leave or are acknowledged. Once nothing does for the time of a stall, ask for another
     * path, and again after the same time. */
    while (!end || waiting(fd) > 0) {
        struct pollfd wait = {fd, 0, 0};
        ssize_t n = 0;
        if (!end && done == length) {
            ssize_t got = read(file, data, sizeof data);
            if (got < 0)
                die(argv[3]);
            length = (size_t)got, done = 0, end = got == 0;
        }
        if (!end && (n = write(fd, data + done, length - done)) < 0 && errno != EAGAIN)
            die("write");
        if (n > 0) {
            done += (size_t)n, total += (unsigned long long)n, still = 0;
            continue;
        }
        before = waiting(fd);
        wait.events = end ? 0 : POLLOUT;
        if (poll(&wait, 1, 50) < 0 || (wait.revents & POLLERR) != 0)
            die("poll");
        left = waiting(fd);
        still = left != before || (wait.revents & POLLOUT) != 0 ? 0 : still + 50;
        if (still >= stall && shim != NULL) {
            shim_result r = shim_explore(shim, fd);
            printf("stalled for %d ms: %s\n", still, shim_strerror(r));
            fflush(stdout);
            explored += r == SHIM_OK, still = 0;
        }
    }
    printf("sent %llu, explored %d times\n", total, explored);
    shim_close(shim);
    close(fd);
    return 0;
}
