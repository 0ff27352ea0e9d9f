/* Steers the shim for a connection while data flows over it.
 *
 *   steer serve PORT                          takes one connection at a time, tells how much came
 *   steer [-u] [-l LOCAL] run HOST PORT       asks for a context, tests another pair, has REAP look for a path
 *   steer [-u] [-l LOCAL] explore HOST PORT   one attempt to steer the context of the connection
 *
 * -u: UDP instead of TCP. HOST and LOCAL are IPv6 addresses. Every line of output is "key value".
 * cc steer.c $(pkg-config --cflags --libs shim) -pthread -o steer
 */
#include "steering.h"

static _Noreturn void serve(const char *port) {
    static char buffer[65536];
    int listener = wait_at(SOCK_STREAM, port);
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

static void show_pair(const char *key, const struct in6_addr *local, const struct in6_addr *peer) {
    char a[INET6_ADDRSTRLEN], b[INET6_ADDRSTRLEN];
    printf("%s %s %s\n", key, inet_ntop(AF_INET6, local, a, sizeof a),
           inet_ntop(AF_INET6, peer, b, sizeof b));
}

static void run(struct shim_handle *shim, int fd) {
    static struct transfer t;
    struct shim_events *events;
    struct shim_status status;
    struct shim_event event;
    struct in6_addr local, peer;
    unsigned long long before;
    int64_t rtt_us, asked;
    int outcome;

    t.fd = fd;
    begin_transfer(&t);
    need("subscribe", shim_subscribe(shim, fd, &events));
    need("status", shim_get_status(shim, fd, &status, sizeof status));
    if (!status.associated) {
        need("set", shim_set(shim, fd));
        await_event(events, SHIM_EVENT_ESTABLISHED);
        need("status", shim_get_status(shim, fd, &status, sizeof status));
    }
    printf("associated %d\n", status.associated);
    show_pair("ulids", &status.ulid_local, &status.ulid_peer);
    show_pair("pair", &status.locator_local, &status.locator_peer);
    local = other_locator(shim, fd, SHIM_SIDE_LOCAL);
    peer = other_locator(shim, fd, SHIM_SIDE_PEER);
    show_pair("tested", &local, &peer);
    need("test", shim_test_pair(shim, fd, &local, &peer, &outcome, &rtt_us));
    printf("reachable %d\nrtt_us %lld\n", outcome == SHIM_REACHABLE, (long long)rtt_us);
    need("status", shim_get_status(shim, fd, &status, sizeof status));
    show_pair("pair_after_test", &status.locator_local, &status.locator_peer);

    asked = now_us();
    need("explore", shim_explore(shim, fd));
    event = await_event(events, SHIM_EVENT_PATH_SWITCHED);
    printf("switch_us %lld\n", (long long)(now_us() - asked));
    show_pair("switched", &event.to_local, &event.to_peer);
    fflush(stdout);

    /* The transfer has to move on by a second's worth. */
    before = atomic_load(&t.sent);
    asked = now_us();
    while (atomic_load(&t.sent) < before + 1000000 && now_us() - asked < 20000000)
        usleep(10000);
    atomic_store(&ending, 1);
    pthread_join(t.thread, NULL);
    printf("moved_on %d\nsent %llu\n", atomic_load(&t.sent) >= before + 1000000, atomic_load(&t.sent));
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
    fd = connect_to(type, local, argv[1], argv[2]);
    need("open", shim_open(NULL, 5000, &shim));
    if (argv[0][0] == 'r')
        run(shim, fd);
    else
        explore(shim, fd);
    shim_close(shim);
    close(fd);
    return 0;
}
