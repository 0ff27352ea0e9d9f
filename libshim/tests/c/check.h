/* What the C tests share: counted checks, and connected sockets between two addresses of this host. */
#ifndef CHECK_H
#define CHECK_H

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <shim.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Peer ports at which the daemon stub misbehaves. */
#define SILENT 4001
#define DENIED 4002
#define FAULTY 4003
#define UNABLE 4019

static int failures;
static struct in6_addr here, there;

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            int saved_ = errno;                                                                    \
            failures++;                                                                            \
            fprintf(stderr, "%s:%d: %s (last error: %s; errno %d)\n", __FILE__, __LINE__,          \
                    #condition, shim_last_error(), saved_);                                         \
        }                                                                                          \
    } while (0)

/* Expects a result, and says which one came instead. */
#define EXPECT(wanted, call)                                                                       \
    do {                                                                                           \
        shim_result got_ = (call);                                                                 \
        if (got_ != (wanted)) {                                                                    \
            failures++;                                                                            \
            fprintf(stderr, "%s:%d: %s: %d (%s: %s) instead of %d\n", __FILE__, __LINE__, #call,   \
                    got_, shim_strerror(got_), shim_last_error(), (int)(wanted));                  \
        }                                                                                          \
    } while (0)

static inline struct sockaddr_in6 end_point(const struct in6_addr *addr, int port) {
    struct sockaddr_in6 sa;
    memset(&sa, 0, sizeof sa);
    sa.sin6_family = AF_INET6;
    sa.sin6_addr = *addr;
    sa.sin6_port = htons((unsigned short)port);
    return sa;
}

/* A UDP socket of "here", connected to a port of "there". */
static inline int connected(int port) {
    struct sockaddr_in6 from = end_point(&here, 0), to = end_point(&there, port);
    int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&from, sizeof from) != 0 ||
        connect(fd, (struct sockaddr *)&to, sizeof to) != 0) {
        perror("connect");
        exit(2);
    }
    return fd;
}

static inline int64_t now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static inline struct in6_addr addr(const char *text) {
    struct in6_addr a;
    if (inet_pton(AF_INET6, text, &a) != 1)
        abort();
    return a;
}

static inline int same(const struct in6_addr *a, const struct in6_addr *b) {
    return memcmp(a, b, sizeof *a) == 0;
}

/* argv: here there [mode] */
static inline void begin(int argc, char **argv) {
    if (argc < 3) {
        fprintf(stderr, "usage: %s HERE THERE\n", argv[0]);
        exit(2);
    }
    here = addr(argv[1]);
    there = addr(argv[2]);
}

static inline int finish(void) {
    if (failures != 0)
        fprintf(stderr, "%d checks failed\n", failures);
    return failures == 0 ? 0 : 1;
}

/* Runs one function in threads of their own; in how many of them it returned something. */
static inline int in_threads(void *(*run)(void *)) {
    pthread_t all[8];
    void *wrong;
    int i, failed = 0, n = (int)(sizeof all / sizeof *all);
    for (i = 0; i < n; i++)
        if (pthread_create(&all[i], NULL, run, NULL) != 0)
            exit(2);
    for (i = 0; i < n; i++) {
        pthread_join(all[i], &wrong);
        failed += wrong != NULL;
    }
    return failed;
}

/* Says that something has to happen outside, and waits until it has. */
static inline void wait_for_go(const char *what) {
    char line[8];
    printf("%s\n", what);
    fflush(stdout);
    if (fgets(line, sizeof line, stdin) == NULL || strcmp(line, "go\n") != 0)
        exit(2);
}

#endif
