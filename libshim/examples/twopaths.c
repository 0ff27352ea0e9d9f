/* Two connections to one host: one stays on the path that all flows between the hosts share, the other gets a context
 * of its own and moves to another provider. Or one connection that has nothing to do with the shim.
 *
 *   twopaths [-l LOCAL] HOST PORT1 PORT2     reports, then keeps sending until standard input ends
 *   twopaths [-l LOCAL] HOST PORT1           leaves the shim, sends 100 kB
 *
 * HOST and LOCAL are IPv6 addresses; the ports take what is sent. Every line of output is "key value".
 * cc twopaths.c $(pkg-config --cflags --libs shim) -pthread -o twopaths
 */
#include "steering.h"

/* A connection; if there is a handle, one without the shim. */
static int connected(const char *local, const char *host, const char *port, struct shim_handle *shim) {
    struct sockaddr_in6 from = end_point(local, "0"), to = end_point(host, port);
    int fd = socket(AF_INET6, SOCK_STREAM, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&from, sizeof from) != 0)
        die("bind");
    if (shim != NULL)
        need("unset", shim_unset(shim, fd));
    if (connect(fd, (struct sockaddr *)&to, sizeof to) != 0)
        die("connect");
    return fd;
}

static void show(struct shim_handle *shim, const char *name, int fd) {
    char a[INET6_ADDRSTRLEN], b[INET6_ADDRSTRLEN];
    struct shim_status s;
    need("status", shim_get_status(shim, fd, &s, sizeof s));
    printf("%s_pair %s %s\n", name, inet_ntop(AF_INET6, &s.locator_local, a, sizeof a),
           inet_ntop(AF_INET6, &s.locator_peer, b, sizeof b));
    printf("%s_fii %u\n%s_context %llu\n", name, s.fii, name, (unsigned long long)s.context);
}

static uint64_t packets(struct shim_handle *shim, int fd) {
    struct shim_status s;
    need("status", shim_get_status(shim, fd, &s, sizeof s));
    return s.packets_out;
}

/* Waits until both have sent so much more, twenty seconds at most. */
static int both_move_on(struct transfer *t, unsigned long long octets) {
    unsigned long long a = atomic_load(&t[0].sent) + octets, b = atomic_load(&t[1].sent) + octets;
    int64_t begin = now_us();
    while (atomic_load(&t[0].sent) < a || atomic_load(&t[1].sent) < b) {
        if (now_us() - begin > 20000000)
            return 0;
        usleep(10000);
    }
    return 1;
}

static void two(struct shim_handle *shim, struct transfer *t) {
    struct shim_events *events;
    struct shim_status status;
    struct in6_addr local, peer;
    uint64_t shared, own;
    int64_t asked;

    need("subscribe", shim_subscribe(shim, t[0].fd, &events));
    need("set", shim_set(shim, t[0].fd));
    need("status", shim_get_status(shim, t[0].fd, &status, sizeof status));
    if (!status.associated)
        await_event(events, SHIM_EVENT_ESTABLISHED);
    shim_events_close(events);
    show(shim, "shared", t[0].fd);

    need("fork", shim_fork_context(shim, t[1].fd));
    need("subscribe", shim_subscribe(shim, t[1].fd, &events));
    need("status", shim_get_status(shim, t[1].fd, &status, sizeof status));
    if (!status.associated)
        await_event(events, SHIM_EVENT_ESTABLISHED);
    show(shim, "own", t[1].fd);

    local = other_locator(shim, t[1].fd, SHIM_SIDE_LOCAL), peer = other_locator(shim, t[1].fd, SHIM_SIDE_PEER);
    asked = now_us();
    need("switch", shim_switch_pair(shim, t[1].fd, &local, &peer, SHIM_KEEP_PIN));
    await_event(events, SHIM_EVENT_PATH_SWITCHED);
    printf("switch_us %lld\n", (long long)(now_us() - asked));
    show(shim, "moved", t[1].fd);
    show(shim, "stayed", t[0].fd);

    shared = packets(shim, t[0].fd), own = packets(shim, t[1].fd);
    printf("moved_on %d\n", both_move_on(t, 1000000));
    printf("shared_packets %llu\nown_packets %llu\n",
           (unsigned long long)(packets(shim, t[0].fd) - shared),
           (unsigned long long)(packets(shim, t[1].fd) - own));
    printf("ready 1\n");
    fflush(stdout);
    while (getchar() != EOF)
        ;
    shim_events_close(events);
}

static void none(struct shim_handle *shim, int fd) {
    static char data[100000];
    struct shim_status status;
    size_t done = 0;
    while (done < sizeof data) {
        ssize_t n = write(fd, data + done, sizeof data - done);
        if (n < 0)
            die("write");
        done += (size_t)n;
    }
    need("status", shim_get_status(shim, fd, &status, sizeof status));
    printf("associated %d\nsent %zu\n", status.associated, done);
}

int main(int argc, char **argv) {
    static struct transfer t[2];
    const char *local = NULL;
    struct shim_handle *shim;
    int i, option;

    signal(SIGPIPE, SIG_IGN);
    while ((option = getopt(argc, argv, "l:")) != -1) {
        if (option != 'l')
            return 2;
        local = optarg;
    }
    argv += optind, argc -= optind;
    if (argc < 2 || argc > 3) {
        fprintf(stderr, "usage: twopaths [-l LOCAL] HOST PORT1 [PORT2]\n");
        return 2;
    }
    need("open", shim_open(NULL, 5000, &shim));
    if (argc == 2) {
        int fd = connected(local, argv[0], argv[1], shim);
        none(shim, fd);
        close(fd);
        shim_close(shim);
        return 0;
    }
    for (i = 0; i < 2; i++) {
        t[i].fd = connected(local, argv[0], argv[1 + i], NULL);
        begin_transfer(&t[i]);
    }
    two(shim, t);
    atomic_store(&ending, 1);
    for (i = 0; i < 2; i++) {
        pthread_join(t[i].thread, NULL);
        close(t[i].fd);
        printf("sent%d %llu\n", i + 1, atomic_load(&t[i].sent));
    }
    shim_close(shim);
    return 0;
}
