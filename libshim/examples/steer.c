/* Steers the shim for a connection while data flows over it.
 *
 *   steer serve PORT                          takes one connection at a time, tells how much came
 *   steer [-u] [-l LOCAL] run HOST PORT       asks for a context, tests another pair, has REAP look for a path
 *   steer [-u] [-l LOCAL] explore HOST PORT   one attempt to steer the context of the connection
 *
 * -u: UDP instead of TCP. HOST and LOCAL are IPv6 addresses. Every line of output is "key value".
 * cc steer.c $(pkg-config --cflags --libs shim) -pthread -o steer
 */
#include <arpa/inet.h>
#include <pthread.h>
#include <shim.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static atomic_ullong sent;
static atomic_int ending;

static int64_t now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static void die(const char *what) {
    perror(what);
    exit(1);
}

/* Ends the program unless a call has succeeded. */
static void need(const char *what, shim_result result) {
    if (result == SHIM_OK)
        return;
    printf("failed %s: %s: %s\n", what, shim_strerror(result), shim_last_error());
    exit(1);
}

static struct sockaddr_in6 end_point(const char *host, const char *port) {
    struct sockaddr_in6 sa;
    memset(&sa, 0, sizeof sa);
    sa.sin6_family = AF_INET6;
    sa.sin6_port = htons((uint16_t)atoi(port));
    if (host != NULL && inet_pton(AF_INET6, host, &sa.sin6_addr) != 1) {
        fprintf(stderr, "%s is no IPv6 address\n", host);
        exit(2);
    }
    return sa;
}

static _Noreturn void serve(const char *port) {
    static char buffer[65536];
    struct sockaddr_in6 sa = end_point(NULL, port);
    int on = 1, listener = socket(AF_INET6, SOCK_STREAM, 0);
    if (listener < 0 || setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
        bind(listener, (struct sockaddr *)&sa, sizeof sa) != 0 || listen(listener, 8) != 0)
        die("listen");
    printf("listening %s\n", port);
    fflush(stdout);
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        unsigned long long total = 0;
        ssize_t n;
        if (fd < 0)
            die("accept");
        while ((n = read(fd, buffer, sizeof buffer)) > 0)
            total += (unsigned long long)n;
        printf(n == 0 ? "received %llu\n" : "broken %llu\n", total);
        fflush(stdout);
        close(fd);
    }
}

/* About a megabyte in a second, as the transfer that must not notice anything. */
static void *transfer(void *arg) {
    static const struct timespec pause = {0, 10000000};
    static char data[10000];
    int fd = *(int *)arg;
    while (!atomic_load(&ending)) {
        ssize_t n = write(fd, data, sizeof data);
        if (n < 0)
            die("write");
        atomic_fetch_add(&sent, (unsigned long long)n);
        nanosleep(&pause, NULL);
    }
    return NULL;
}

static void show_pair(const char *key, const struct in6_addr *local, const struct in6_addr *peer) {
    char a[INET6_ADDRSTRLEN], b[INET6_ADDRSTRLEN];
    printf("%s %s %s\n", key, inet_ntop(AF_INET6, local, a, sizeof a),
           inet_ntop(AF_INET6, peer, b, sizeof b));
}

/* Waits for an event of one type, ten seconds at most. */
static struct shim_event await(struct shim_events *events, int32_t type) {
    struct shim_event event;
    do
        need("event", shim_events_next(events, 10000, &event, sizeof event));
    while (event.type != type);
    return event;
}

/* A locator of one side that is not in use. */
static int other(struct shim_handle *shim, int fd, int side, struct in6_addr *out) {
    struct shim_locator_info list[SHIM_MAX_LOCATORS];
    size_t i, count = SHIM_MAX_LOCATORS;
    need("locators", shim_get_locators(shim, fd, side, list, sizeof *list, &count));
    for (i = 0; i < count; i++)
        if ((list[i].flags & SHIM_FLAG_CURRENT) == 0) {
            *out = list[i].addr;
            return 1;
        }
    return 0;
}

static void run(struct shim_handle *shim, int fd) {
    struct shim_events *events;
    struct shim_status status;
    struct shim_event event;
    struct in6_addr local, peer;
    unsigned long long before;
    int64_t rtt_us, asked;
    pthread_t sender;
    int outcome;

    if (pthread_create(&sender, NULL, transfer, &fd) != 0)
        die("thread");
    need("subscribe", shim_subscribe(shim, fd, &events));
    need("status", shim_get_status(shim, fd, &status, sizeof status));
    if (!status.associated) {
        need("set", shim_set(shim, fd));
        await(events, SHIM_EVENT_ESTABLISHED);
        need("status", shim_get_status(shim, fd, &status, sizeof status));
    }
    printf("associated %d\n", status.associated);
    show_pair("ulids", &status.ulid_local, &status.ulid_peer);
    show_pair("pair", &status.locator_local, &status.locator_peer);
    if (!other(shim, fd, SHIM_SIDE_LOCAL, &local) || !other(shim, fd, SHIM_SIDE_PEER, &peer)) {
        printf("failed there is no other pair\n");
        exit(1);
    }
    show_pair("tested", &local, &peer);
    need("test", shim_test_pair(shim, fd, &local, &peer, &outcome, &rtt_us));
    printf("reachable %d\nrtt_us %lld\n", outcome == SHIM_REACHABLE, (long long)rtt_us);
    need("status", shim_get_status(shim, fd, &status, sizeof status));
    show_pair("pair_after_test", &status.locator_local, &status.locator_peer);

    asked = now_us();
    need("explore", shim_explore(shim, fd));
    event = await(events, SHIM_EVENT_PATH_SWITCHED);
    printf("switch_us %lld\n", (long long)(now_us() - asked));
    show_pair("switched", &event.to_local, &event.to_peer);
    fflush(stdout);

    /* The transfer has to move on by a second's worth. */
    before = atomic_load(&sent);
    asked = now_us();
    while (atomic_load(&sent) < before + 1000000 && now_us() - asked < 20000000)
        usleep(10000);
    atomic_store(&ending, 1);
    pthread_join(sender, NULL);
    printf("moved_on %d\nsent %llu\n", atomic_load(&sent) >= before + 1000000, atomic_load(&sent));
    shim_events_close(events);
}

static void explore(struct shim_handle *shim, int fd) {
    shim_result result = shim_explore(shim, fd);
    printf("result %d %s: %s\n", result, shim_strerror(result), result ? shim_last_error() : "");
    fflush(stdout);
    /* Keeps the connection until standard input ends, so that others can try, too. */
    while (getchar() != EOF)
        ;
}

int main(int argc, char **argv) {
    const char *local = NULL;
    struct shim_handle *shim;
    int option, fd, type = SOCK_STREAM;

    signal(SIGPIPE, SIG_IGN);
    while ((option = getopt(argc, argv, "ul:")) != -1)
        switch (option) {
        case 'u':
            type = SOCK_DGRAM;
            break;
        case 'l':
            local = optarg;
            break;
        default:
            return 2;
        }
    argv += optind, argc -= optind;
    if (argc == 2 && strcmp(argv[0], "serve") == 0)
        serve(argv[1]);
    if (argc != 3 || (strcmp(argv[0], "run") != 0 && strcmp(argv[0], "explore") != 0)) {
        fprintf(stderr, "usage: steer serve PORT | steer [-u] [-l LOCAL] run|explore HOST PORT\n");
        return 2;
    }
    struct sockaddr_in6 from = end_point(local, "0"), to = end_point(argv[1], argv[2]);
    fd = socket(AF_INET6, type, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&from, sizeof from) != 0 ||
        connect(fd, (struct sockaddr *)&to, sizeof to) != 0)
        die("connect");
    need("open", shim_open(NULL, 5000, &shim));
    if (argv[0][0] == 'r')
        run(shim, fd);
    else
        explore(shim, fd);
    shim_close(shim);
    close(fd);
    return 0;
}
