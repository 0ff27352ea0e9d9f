/* An echo client that tells when its packets take another path.
 *
 *   echo serve PORT
 *   echo [-l LOCAL] HOST PORT COUNT    one line in 100 ms, COUNT in all, over TCP
 *
 * cc echo.c $(pkg-config --cflags --libs shim) -o echo
 */
#include "example.h"
#include <poll.h>
#include <signal.h>
#include <time.h>

static int64_t now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static _Noreturn void serve(const char *port) {
    char buffer[4096];
    int listener = wait_at(SOCK_STREAM, port);
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        ssize_t n;
        while (fd >= 0 && (n = read(fd, buffer, sizeof buffer)) > 0 && write(fd, buffer, (size_t)n) == n)
            ;
        close(fd);
    }
}

/* Prints what has happened to the socket's context. */
static void tell(struct shim_events *events) {
    struct shim_event e;
    while (shim_events_next(events, 0, &e, sizeof e) == SHIM_OK)
        switch (e.type) {
        case SHIM_EVENT_ESTABLISHED:
            printf("shim the connection survives its path from now on\n");
            break;
        case SHIM_EVENT_EXPLORING:
            printf("exploring %s %s no longer works\n", text(&e.from_local), text(&e.from_peer));
            break;
        case SHIM_EVENT_PATH_SWITCHED:
            printf("path %s %s after %lld ms\n", text(&e.to_local), text(&e.to_peer),
                   (long long)e.value);
            break;
        case SHIM_EVENT_RECOVERED:
            printf("recovered after %lld ms\n", (long long)e.value);
            break;
        }
    fflush(stdout);
}

int main(int argc, char **argv) {
    const char *local = NULL;
    struct shim_handle *shim = NULL;
    struct shim_events *events = NULL;
    struct pollfd wait[2];
    char line[64], back[4096];
    size_t sent = 0, received = 0;
    int fd, count, lines = 0;
    int64_t next;

    signal(SIGPIPE, SIG_IGN);
    if (argc == 3 && strcmp(argv[1], "serve") == 0)
        serve(argv[2]);
    if (argc > 3 && strcmp(argv[1], "-l") == 0)
        local = argv[2], argv += 2, argc -= 2;
    if (argc != 4) {
        fprintf(stderr, "usage: echo serve PORT | echo [-l LOCAL] HOST PORT COUNT\n");
        return 2;
    }
    fd = connect_to(SOCK_STREAM, local, argv[1], argv[2]);
    count = atoi(argv[3]);
    /* Without a daemon the program works all the same, on one path. */
    if (shim_open(NULL, 2000, &shim) != SHIM_OK || shim_subscribe(shim, fd, &events) != SHIM_OK ||
        shim_set(shim, fd) != SHIM_OK)
        printf("no shim: %s\n", shim_last_error());
    wait[0].fd = fd, wait[0].events = POLLIN;
    wait[1].fd = shim_events_fd(events), wait[1].events = POLLIN;
    next = now_ms();
    while (lines < count || received < sent) {
        int64_t left = lines < count ? next - now_ms() : 60000;
        if (left <= 0) {
            int n = snprintf(line, sizeof line, "line %d\n", ++lines);
            if (write(fd, line, (size_t)n) != n)
                die("write");
            sent += (size_t)n, next += 100;
            continue;
        }
        if (poll(wait, 2, (int)left) == 0 && lines == count)
            die("no echo");
        if (wait[1].revents != 0)
            tell(events);
        if (wait[0].revents != 0) {
            ssize_t n = read(fd, back, sizeof back);
            if (n <= 0)
                die("read");
            received += (size_t)n;
        }
    }
    tell(events);
    printf("echoed %d lines\n", lines);
    shim_events_close(events);
    shim_close(shim);
    close(fd);
    return 0;
}
