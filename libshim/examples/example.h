/* What the examples share: addresses, connections, words on failure. */
#ifndef EXAMPLE_H
#define EXAMPLE_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <shim.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static inline void die(const char *what) {
    perror(what);
    exit(1);
}

static inline struct sockaddr_in6 end_point(const char *host, const char *port) {
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

/* A socket from LOCAL (NULL: any) to HOST. */
static inline int connect_to(int type, const char *local, const char *host, const char *port) {
    struct sockaddr_in6 from = end_point(local, "0"), to = end_point(host, port);
    int fd = socket(AF_INET6, type | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&from, sizeof from) != 0 ||
        connect(fd, (struct sockaddr *)&to, sizeof to) != 0)
        die("connect");
    return fd;
}

/* A socket that waits at PORT. */
static inline int wait_at(int type, const char *port) {
    struct sockaddr_in6 sa = end_point(NULL, port);
    int on = 1, fd = socket(AF_INET6, type | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
        bind(fd, (struct sockaddr *)&sa, sizeof sa) != 0 ||
        (type == SOCK_STREAM && listen(fd, 8) != 0))
        die("bind");
    printf("waiting %s\n", port);
    fflush(stdout);
    return fd;
}

static inline const char *text(const struct in6_addr *a) {
    static char buffers[4][INET6_ADDRSTRLEN];
    static int next;
    char *buffer = buffers[next++ % 4];
    return inet_ntop(AF_INET6, a, buffer, INET6_ADDRSTRLEN);
}

#endif
