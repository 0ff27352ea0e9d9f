/* Traffic for testbed/bench: a stream, datagrams or questions and answers, all of it checked.
 *
 *   traffic serve ADDR PORT                         answers whatever the other modes want
 *   traffic tcp   FROM TO PORT SECONDS STREAMS      octets per second over all streams
 *   traffic udp   FROM TO PORT SECONDS SIZE         datagrams per second that arrived whole
 *   traffic rtt   FROM TO PORT SECONDS              round trips of 64 octets over TCP
 *   traffic flood FROM TO PORT                      datagrams of 64 octets, each from another address of FROM/64, until
 *                                                   it is ended; says ready, checks nothing
 *
 * Streams are a pseudo-random sequence that both ends hash with 64 bits; the sender compares what the
 * receiver says. Datagrams carry their number and a hash of their own.
 * Prints one line: "ok VALUE [P99]", or "damaged REASON" with status 1. VALUE: octets/s, datagrams/s, or the
 * median in microseconds. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { CHUNK = 256 * 1024, MAX_STREAMS = 64, QUESTION = 64, MAX_ROUNDS = 2000000, MAX_DATAGRAM = 65536 };

static void fail(const char *what) {
    fprintf(stderr, "traffic: %s: %s\n", what, strerror(errno));
    exit(2);
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

/* ---- what is sent, and its hash ------------------------------------------------------------------- */

static uint64_t next_word(uint64_t *x) {
    *x = *x * 6364136223846793005u + 1442695040888963407u;
    return *x ^ *x >> 29;
}

/* A hash of octets in order, whatever pieces they come in. */
struct hash {
    uint64_t value, octets, part;
};

static void hash_word(struct hash *h, uint64_t w) {
    h->value = (h->value ^ w) * 0x9e3779b97f4a7c15u;
    h->value ^= h->value >> 32;
}

static void hash_octets(struct hash *h, const unsigned char *p, size_t n) {
    while (n > 0 && h->octets % 8 != 0) {
        h->part |= (uint64_t)*p++ << 8 * (h->octets % 8);
        h->octets++, n--;
        if (h->octets % 8 == 0) {
            hash_word(h, h->part);
            h->part = 0;
        }
    }
    for (; n >= 8; p += 8, n -= 8, h->octets += 8) {
        uint64_t w;
        memcpy(&w, p, 8);
        hash_word(h, w);
    }
    for (; n > 0; n--, h->octets++) h->part |= (uint64_t)*p++ << 8 * (h->octets % 8);
}

static uint64_t hash_end(struct hash *h) {
    hash_word(h, h->part);
    hash_word(h, h->octets);
    return h->value;
}

/* ---- sockets -------------------------------------------------------------------------------------- */

static struct sockaddr_in6 address(const char *text, int port) {
    struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    if (inet_pton(AF_INET6, text, &a.sin6_addr) != 1) {
        fprintf(stderr, "traffic: %s is no IPv6 address\n", text);
        exit(2);
    }
    return a;
}

static int bound(int type, const char *from, int port) {
    struct sockaddr_in6 a = address(from, port);
    int on = 1, s = socket(AF_INET6, type | SOCK_CLOEXEC, 0);
    if (s < 0) fail("socket");
    setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(s, (void *)&a, sizeof a) < 0) fail("bind");
    return s;
}

static int connected(int type, const char *from, const char *to, int port) {
    struct sockaddr_in6 a = address(to, port);
    int s = bound(type, from, 0);
    if (connect(s, (void *)&a, sizeof a) < 0) fail("connect");
    return s;
}

static int write_all(int s, const void *data, size_t n) {
    const char *p = data;
    while (n > 0) {
        ssize_t sent = send(s, p, n, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) continue;
        if (sent <= 0) return -1;
        p += sent, n -= sent;
    }
    return 0;
}

static int read_all(int s, void *data, size_t n) {
    char *p = data;
    while (n > 0) {
        ssize_t got = recv(s, p, n, 0);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return -1;
        p += got, n -= got;
    }
    return 0;
}

/* ---- the other end -------------------------------------------------------------------------------- */

/* First octet of a connection: what it is. s: a stream to be hashed; q: questions to be answered. */
static void *serve_connection(void *arg) {
    int s = (int)(intptr_t)arg;
    unsigned char *buffer = malloc(CHUNK);
    char kind;
    if (buffer && read_all(s, &kind, 1) == 0 && kind == 's') {
        struct hash h = {0};
        ssize_t n;
        while ((n = recv(s, buffer, CHUNK, 0)) > 0) hash_octets(&h, buffer, n);
        uint64_t answer[2] = {h.octets, hash_end(&h)};
        if (n == 0) write_all(s, answer, sizeof answer);
    } else if (buffer && kind == 'q') {
        while (read_all(s, buffer, QUESTION) == 0 && write_all(s, buffer, QUESTION) == 0) {}
    }
    free(buffer);
    close(s);
    return NULL;
}

/* Datagrams: number, hash, data. Number 0 asks how many came whole, how many damaged, and starts anew. */
static void *serve_datagrams(void *arg) {
    int s = (int)(intptr_t)arg, room = 32 << 20;
    static unsigned char buffer[MAX_DATAGRAM];
    uint64_t count[2] = {0, 0};
    struct sockaddr_in6 from;
    socklen_t len;
    if (setsockopt(s, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room) < 0)
        setsockopt(s, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
    for (;;) {
        len = sizeof from;
        ssize_t n = recvfrom(s, buffer, sizeof buffer, 0, (void *)&from, &len);
        if (n < 16) continue;
        uint64_t number, sum;
        memcpy(&number, buffer, 8);
        memcpy(&sum, buffer + 8, 8);
        if (number == 0) {
            sendto(s, count, sizeof count, 0, (void *)&from, len);
            memset(count, 0, sizeof count);
            continue;
        }
        struct hash h = {.value = number};
        hash_octets(&h, buffer + 16, n - 16);
        count[hash_end(&h) != sum]++;
    }
    return NULL;
}

static _Noreturn void serve(const char *at, int port) {
    int listener = bound(SOCK_STREAM, at, port);
    pthread_t thread;
    if (listen(listener, 64) < 0) fail("listen");
    if (pthread_create(&thread, NULL, serve_datagrams, (void *)(intptr_t)bound(SOCK_DGRAM, at, port)))
        fail("thread");
    puts("ready");
    fflush(stdout);
    for (;;) {
        int on = 1, s = accept(listener, NULL, NULL);
        if (s < 0) continue;
        setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        if (pthread_create(&thread, NULL, serve_connection, (void *)(intptr_t)s)) close(s);
        else pthread_detach(thread);
    }
}

/* ---- streams -------------------------------------------------------------------------------------- */

struct stream {
    const char *from, *to;
    int port;
    double end;
    uint64_t seed, octets;
    double done;
    const char *error;
};

static void *send_stream(void *arg) {
    struct stream *t = arg;
    int s = connected(SOCK_STREAM, t->from, t->to, t->port);
    uint64_t *chunk = malloc(CHUNK), x = t->seed, answer[2];
    struct hash h = {0};
    if (!chunk || write_all(s, "s", 1) < 0) {
        t->error = "the connection broke";
        return NULL;
    }
    do {
        for (size_t i = 0; i < CHUNK / 8; i++) chunk[i] = next_word(&x);
        hash_octets(&h, (void *)chunk, CHUNK);
        if (write_all(s, chunk, CHUNK) < 0) {
            t->error = "the connection broke";
            return NULL;
        }
    } while (now() < t->end);
    shutdown(s, SHUT_WR);
    t->octets = h.octets;
    if (read_all(s, answer, sizeof answer) < 0) t->error = "no answer";
    else if (answer[0] != h.octets || answer[1] != hash_end(&h)) t->error = "the stream differs";
    t->done = now();
    close(s);
    free(chunk);
    return NULL;
}

static int tcp(const char *from, const char *to, int port, double seconds, int n) {
    static struct stream streams[MAX_STREAMS];
    pthread_t threads[MAX_STREAMS];
    double began = now(), last = 0;
    uint64_t octets = 0;
    if (n < 1 || n > MAX_STREAMS) return 2;
    for (int i = 0; i < n; i++) {
        streams[i] = (struct stream){from, to, port, began + seconds, i + 1, 0, 0, NULL};
        if (pthread_create(&threads[i], NULL, send_stream, &streams[i])) fail("thread");
    }
    for (int i = 0; i < n; i++) {
        pthread_join(threads[i], NULL);
        if (streams[i].error) {
            printf("damaged %s\n", streams[i].error);
            return 1;
        }
        octets += streams[i].octets;
        if (streams[i].done > last) last = streams[i].done;
    }
    printf("ok %.0f\n", octets / (last - began));
    return 0;
}

/* ---- datagrams ------------------------------------------------------------------------------------ */

/* How many came, asked until there is an answer. */
static int ask(int s, uint64_t count[2]) {
    uint64_t question[2] = {0, 0};
    for (int tries = 0; tries < 50; tries++) {
        struct pollfd p = {s, POLLIN, 0};
        send(s, question, sizeof question, 0);
        if (poll(&p, 1, 200) > 0 && recv(s, count, 16, 0) == 16) return 0;
    }
    return -1;
}

static int udp(const char *from, const char *to, int port, double seconds, size_t size) {
    int s = connected(SOCK_DGRAM, from, to, port);
    static unsigned char datagram[MAX_DATAGRAM];
    uint64_t x = 1, number = 0, count[2];
    if (size < 16 || size > MAX_DATAGRAM) return 2;
    for (size_t i = 16; i < size; i++) datagram[i] = next_word(&x) >> 32;
    if (ask(s, count) < 0) {
        puts("damaged no answer");
        return 1;
    }
    double began = now(), end = began + seconds;
    while (now() < end) {
        for (int i = 0; i < 32; i++) {
            struct hash h = {.value = ++number};
            memcpy(datagram, &number, 8);
            hash_octets(&h, datagram + 16, size - 16);
            uint64_t sum = hash_end(&h);
            memcpy(datagram + 8, &sum, 8);
            if (send(s, datagram, size, 0) < 0 && errno == EMSGSIZE) fail("send");
        }
    }
    double took = now() - began;
    if (ask(s, count) < 0) {
        puts("damaged no answer");
        return 1;
    }
    if (count[1] > 0) {
        printf("damaged %llu of %llu datagrams\n", (unsigned long long)count[1], (unsigned long long)number);
        return 1;
    }
    printf("ok %.0f\n", count[0] / took);
    return 0;
}

/* ---- round trips ---------------------------------------------------------------------------------- */

static int by_size(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static int rtt(const char *from, const char *to, int port, double seconds) {
    int on = 1, s = connected(SOCK_STREAM, from, to, port);
    static float took[MAX_ROUNDS];
    size_t n = 0;
    double end = now() + seconds;
    unsigned char question[QUESTION], answer[QUESTION];
    uint64_t x = 7;
    setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (write_all(s, "q", 1) < 0) fail("send");
    while (now() < end && n < MAX_ROUNDS) {
        for (size_t i = 0; i < QUESTION; i++) question[i] = next_word(&x) >> 40;
        double t = now();
        if (write_all(s, question, QUESTION) < 0 || read_all(s, answer, QUESTION) < 0) fail("exchange");
        took[n++] = (now() - t) * 1e6;
        if (memcmp(question, answer, QUESTION) != 0) {
            puts("damaged answer");
            return 1;
        }
    }
    qsort(took, n, sizeof *took, by_size);
    printf("ok %.1f %.1f\n", took[n / 2], took[n * 99 / 100]);
    return 0;
}

/* ---- a flood -------------------------------------------------------------------------------------- */

static _Noreturn void flood(const char *from, const char *to, int port) {
    enum { BATCH = 64, LEN = 40 + 8 + 64 };
    static unsigned char packets[BATCH][LEN];
    static struct iovec places[BATCH];
    static struct mmsghdr messages[BATCH];
    /* Port 0: for a raw socket it would be a protocol number. */
    struct sockaddr_in6 source = address(from, 0), target = address(to, 0);
    int s = socket(AF_INET6, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW);
    uint64_t x = 1;
    if (s < 0) fail("raw socket");
    for (int i = 0; i < BATCH; i++) {
        unsigned char *p = packets[i];
        p[0] = 0x60, p[5] = LEN - 40, p[6] = IPPROTO_UDP, p[7] = 64;
        memcpy(p + 8, &source.sin6_addr, 16);
        memcpy(p + 24, &target.sin6_addr, 16);
        p[40] = 0x99, p[42] = port >> 8, p[43] = port & 0xff, p[45] = LEN - 40;
        places[i] = (struct iovec){p, LEN};
        messages[i].msg_hdr = (struct msghdr){.msg_name = &target, .msg_namelen = sizeof target, .msg_iov = &places[i], .msg_iovlen = 1};
    }
    puts("ready");
    fflush(stdout);
    for (;;) {
        for (int i = 0; i < BATCH; i++) {
            uint64_t host = next_word(&x);
            memcpy(packets[i] + 16, &host, 8);
            /* The checksum: all 16-bit words with the length and the protocol. */
            uint32_t sum = LEN - 40 + IPPROTO_UDP;
            packets[i][46] = packets[i][47] = 0;
            for (int at = 8; at < LEN; at += 2) sum += packets[i][at] << 8 | packets[i][at + 1];
            while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
            sum = sum == 0xffff ? 0xffff : ~sum & 0xffff;
            packets[i][46] = sum >> 8, packets[i][47] = sum & 0xff;
        }
        sendmmsg(s, messages, BATCH, 0);
    }
}

int main(int argc, char **argv) {
    signal(SIGPIPE, SIG_IGN);
    if (argc == 4 && !strcmp(argv[1], "serve")) serve(argv[2], atoi(argv[3]));
    if (argc == 5 && !strcmp(argv[1], "flood")) flood(argv[2], argv[3], atoi(argv[4]));
    if (argc >= 6) {
        const char *mode = argv[1], *from = argv[2], *to = argv[3];
        int port = atoi(argv[4]);
        double seconds = atof(argv[5]);
        if (!strcmp(mode, "tcp") && argc == 7) return tcp(from, to, port, seconds, atoi(argv[6]));
        if (!strcmp(mode, "udp") && argc == 7) return udp(from, to, port, seconds, atoi(argv[6]));
        if (!strcmp(mode, "rtt") && argc == 6) return rtt(from, to, port, seconds);
    }
    fprintf(stderr, "usage: traffic serve ADDR PORT | flood FROM TO PORT | tcp FROM TO PORT SECONDS STREAMS |\n"
                    "       udp FROM TO PORT SECONDS SIZE | rtt FROM TO PORT SECONDS\n");
    return 2;
}
