/* A program that knows nothing of the shim: threads, descriptors in messages, children. It runs with and without the
 * preloaded library and must not see a difference. While it calls what the library wraps, no memory may be allocated.
 *
 *   ordinary WANTED PLUGIN HERE THERE    WANTED is what the plugin's question about the shim has to give.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define THREADS 4
#define ROUNDS 200

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
static atomic_int allocations, failures;

void *malloc(size_t n) {
    allocations++;
    return __libc_malloc(n);
}

void *calloc(size_t n, size_t size) {
    allocations++;
    return __libc_calloc(n, size);
}

void *realloc(void *p, size_t n) {
    allocations++;
    return __libc_realloc(p, n);
}

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            failures++;                                                                            \
            fprintf(stderr, "%s:%d: %s (errno %d)\n", __FILE__, __LINE__, #condition, errno);      \
        }                                                                                          \
    } while (0)

/* Sends a descriptor from one end of a pair to the other, and looks at it there. */
static void pass(const int *ends) {
    union {
        char octets[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control;
    char data = 'x';
    struct iovec io = {&data, 1};
    struct msghdr m;
    struct mmsghdr many;
    struct cmsghdr *c;
    int type = 0, fd = -1;
    socklen_t len = sizeof type;

    memset(&m, 0, sizeof m);
    memset(&control, 0, sizeof control);
    m.msg_iov = &io, m.msg_iovlen = 1, m.msg_control = &control;
    m.msg_controllen = sizeof control;
    c = CMSG_FIRSTHDR(&m);
    c->cmsg_level = SOL_SOCKET, c->cmsg_type = SCM_RIGHTS, c->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(c), &ends[0], sizeof fd);
    CHECK(sendmsg(ends[0], &m, 0) == 1);
    memset(&control, 0, sizeof control);
    CHECK(recvmsg(ends[1], &m, 0) == 1);
    c = CMSG_FIRSTHDR(&m);
    if (c == NULL || c->cmsg_type != SCM_RIGHTS) {
        CHECK(!"a descriptor came");
        return;
    }
    memcpy(&fd, CMSG_DATA(c), sizeof fd);
    CHECK(getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0 && type == SOCK_SEQPACKET);
    CHECK(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &(int){9000}, sizeof(int)) == 0);
    close(fd);
    memset(&many, 0, sizeof many);
    many.msg_hdr.msg_iov = &io, many.msg_hdr.msg_iovlen = 1;
    CHECK(sendmmsg(ends[0], &many, 1, 0) == 1);
    CHECK(recvmmsg(ends[1], &many, 1, 0, NULL) == 1 && many.msg_len == 1);
    CHECK(recvmsg(ends[1], &m, MSG_DONTWAIT) == -1 && errno == EAGAIN);
    CHECK(setsockopt(-1, SOL_SOCKET, SO_SNDBUF, &type, sizeof type) == -1 && errno == EBADF);
    CHECK(getsockopt(ends[0], 9999, 1, &type, &len) == -1 && errno == EOPNOTSUPP);
}

static void *worker(void *unused) {
    int ends[2], i;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends) != 0)
        exit(2);
    for (i = 0; i < ROUNDS; i++)
        pass(ends);
    close(ends[0]), close(ends[1]);
    return unused;
}

int main(int argc, char **argv) {
    pthread_t all[THREADS];
    struct sockaddr_in6 from, to;
    int (*ask)(int);
    int ends[2], before, i, fd, status = 1;
    void *plugin;

    if (argc != 5 || socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends) != 0)
        return 2;
    pass(ends);
    before = allocations;
    for (i = 0; i < ROUNDS; i++)
        pass(ends);
    CHECK(allocations == before);
    for (i = 0; i < THREADS; i++)
        if (pthread_create(&all[i], NULL, worker, NULL) != 0)
            return 2;
    if (fork() == 0) {
        pass(ends);
        _exit(failures != 0);
    }
    CHECK(wait(&status) > 0 && status == 0);
    for (i = 0; i < THREADS; i++)
        pthread_join(all[i], NULL);

    /* A library that is loaded late, before whose calls the preloaded one has to come all the same. */
    memset(&from, 0, sizeof from);
    from.sin6_family = AF_INET6;
    to = from, to.sin6_port = htons(9);
    if (inet_pton(AF_INET6, argv[3], &from.sin6_addr) != 1 ||
        inet_pton(AF_INET6, argv[4], &to.sin6_addr) != 1)
        return 2;
    fd = socket(AF_INET6, SOCK_DGRAM, 0);
    CHECK(bind(fd, (struct sockaddr *)&from, sizeof from) == 0);
    CHECK(connect(fd, (struct sockaddr *)&to, sizeof to) == 0);
    plugin = dlopen(argv[2], RTLD_NOW | RTLD_LOCAL);
    CHECK(plugin != NULL);
    if (plugin == NULL)
        return 1;
    *(void **)&ask = dlsym(plugin, "ask");
    i = ask(fd);
    if (i != atoi(argv[1])) {
        fprintf(stderr, "the shim says %d\n", i);
        failures++;
    }
    printf("done\n");
    return failures != 0;
}
