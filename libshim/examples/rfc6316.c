/* A program that knows RFC 6316 and nothing of libshim: the system's calls at level SOL_SHIM. It is not linked with the library
 * and runs under shimrun. Sends datagrams and shows by which locators the answers come.
 *
 *   rfc6316 serve PORT
 *   shimrun rfc6316 LOCAL HOST PORT COUNT    one datagram in 100 ms until COUNT answers came
 *
 * cc rfc6316.c $(pkg-config --cflags shim) -o rfc6316
 */
#include "example.h"
#include <errno.h>
#include <poll.h>

static _Noreturn void serve(const char *port) {
    char data[2048];
    struct sockaddr_in6 from;
    int fd = wait_at(SOCK_DGRAM, port);
    for (;;) {
        socklen_t len = sizeof from;
        ssize_t n = recvfrom(fd, data, sizeof data, 0, (struct sockaddr *)&from, &len);
        if (n > 0 && sendto(fd, data, (size_t)n, 0, (struct sockaddr *)&from, len) != n)
            perror("sendto");
    }
}

static int option(int fd, int name) {
    int value = -1;
    socklen_t len = sizeof value;
    if (getsockopt(fd, SOL_SHIM, name, &value, &len) != 0)
        die("getsockopt");
    return value;
}

static void show_list(int fd, int name, const char *whose) {
    struct shim_locator list[SHIM_MAX_LOCATORS];
    socklen_t len = sizeof list;
    size_t i;
    if (getsockopt(fd, SOL_SHIM, name, list, &len) != 0)
        die(whose);
    for (i = 0; i < len / sizeof *list; i++)
        printf("%s %s\n", whose, text(&list[i].lc_addr));
}

/* Receives an answer and prints its locators when they are others than before. */
static int receive(int fd) {
    static struct in6_addr before[2];
    union {
        char octets[256];
        struct cmsghdr align;
    } control;
    char data[2048];
    struct iovec io = {data, sizeof data};
    struct msghdr m;
    struct cmsghdr *c;
    struct in6_addr now[2];

    memset(&m, 0, sizeof m);
    memset(now, 0, sizeof now);
    m.msg_iov = &io, m.msg_iovlen = 1;
    m.msg_control = &control, m.msg_controllen = sizeof control;
    if (recvmsg(fd, &m, MSG_DONTWAIT) < 0)
        return 0;
    for (c = CMSG_FIRSTHDR(&m); c != NULL; c = CMSG_NXTHDR(&m, c))
        if (c->cmsg_level == SOL_SHIM) {
            struct sockaddr_in6 sa;
            memcpy(&sa, CMSG_DATA(c), sizeof sa);
            now[c->cmsg_type == SHIM_LOC_PEER_RECV] = sa.sin6_addr;
        }
    if (memcmp(before, now, sizeof now) != 0)
        printf("received %s %s\n", text(&now[0]), text(&now[1]));
    memcpy(before, now, sizeof now);
    fflush(stdout);
    return 1;
}

int main(int argc, char **argv) {
    int fd, on = 1, answers = 0, asked = 0, count;

    if (argc == 3 && strcmp(argv[1], "serve") == 0)
        serve(argv[2]);
    if (argc != 5) {
        fprintf(stderr, "usage: rfc6316 serve PORT | rfc6316 LOCAL HOST PORT COUNT\n");
        return 2;
    }
    fd = connect_to(SOCK_DGRAM, argv[1], argv[2], argv[3]);
    count = atoi(argv[4]);
    printf("deferred %d\nassociated %d\n", option(fd, SHIM_CONTEXT_DEFERRED_SETUP),
           option(fd, SHIM_ASSOCIATED));
    while (answers < count) {
        struct pollfd wait = {fd, POLLIN, 0};
        if (send(fd, "question", 8, 0) != 8 && errno != ECONNREFUSED)
            die("send");
        /* The heuristic of the host negotiates a context after a while. */
        if (!asked && option(fd, SHIM_ASSOCIATED) == 1) {
            struct shim_feedback fine = {SHIM_FEEDBACK_INBOUND, SHIM_FEEDBACK_SATISFACTORY, 0};
            char control[CMSG_SPACE(sizeof fine)];
            struct iovec io = {(void *)"content", 7};
            struct msghdr m;
            struct cmsghdr *c;
            asked = 1;
            printf("associated 1\n");
            show_list(fd, SHIM_LOCLIST_LOCAL, "local");
            show_list(fd, SHIM_LOCLIST_PEER, "peer");
            if (setsockopt(fd, SOL_SHIM, SHIM_LOC_LOCAL_RECV, &on, sizeof on) != 0 ||
                setsockopt(fd, SOL_SHIM, SHIM_LOC_PEER_RECV, &on, sizeof on) != 0)
                die("setsockopt");
            memset(&m, 0, sizeof m);
            memset(control, 0, sizeof control);
            m.msg_iov = &io, m.msg_iovlen = 1;
            m.msg_control = control, m.msg_controllen = sizeof control;
            c = CMSG_FIRSTHDR(&m);
            c->cmsg_level = SOL_SHIM, c->cmsg_type = SHIM_FEEDBACK;
            c->cmsg_len = CMSG_LEN(sizeof fine);
            memcpy(CMSG_DATA(c), &fine, sizeof fine);
            if (sendmsg(fd, &m, 0) != 7)
                die("sendmsg");
        }
        poll(&wait, 1, 100);
        if (asked)
            answers += receive(fd);
        else
            while (recv(fd, &(char[16]){0}, 16, MSG_DONTWAIT) > 0)
                ;
        if (wait.revents != 0)
            poll(NULL, 0, 100);
    }
    printf("answers %d\n", answers);
    close(fd);
    return 0;
}
