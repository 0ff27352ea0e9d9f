/* RFC 6316's ancillary data. With -DUNMODIFIED the program knows nothing of libshim but the numbers of RFC 6316: it uses
 * the C library's calls, is not linked with the library, and runs under shimrun. */
#define _GNU_SOURCE
#include "check.h"

#ifdef UNMODIFIED
#define shim_last_error() "-"
#define shim_setsockopt setsockopt
#define shim_getsockopt getsockopt
#define shim_sendmsg sendmsg
#define shim_recvmsg recvmsg
#define shim_sendmmsg sendmmsg
#define shim_recvmmsg recvmmsg
#endif

/* A peer port at which the daemon stub does what other daemons refuse, and one at which it forgets the context. */
#define PINNING 4004
#define FORGETTING 4005

static int sender;
static const int on = 1, off = 0;

struct received {
    ssize_t octets;
    int flags, pieces, type[4], level[4];
    struct sockaddr_in6 name, locator[4];
};

/* Sends a datagram from "there" to a socket of "here". */
static void datagram(int fd) {
    struct sockaddr_in6 to;
    socklen_t len = sizeof to;
    CHECK(getsockname(fd, (struct sockaddr *)&to, &len) == 0);
    CHECK(sendto(sender, "hello", 5, 0, (struct sockaddr *)&to, sizeof to) == 5);
}

static void parse(struct received *r, struct msghdr *m) {
    struct cmsghdr *c;
    r->flags = m->msg_flags;
    for (c = CMSG_FIRSTHDR(m); c != NULL && r->pieces < 4; c = CMSG_NXTHDR(m, c), r->pieces++) {
        r->level[r->pieces] = c->cmsg_level;
        r->type[r->pieces] = c->cmsg_type;
        if (c->cmsg_level == SOL_SHIM && c->cmsg_len == CMSG_LEN(sizeof r->name))
            memcpy(&r->locator[r->pieces], CMSG_DATA(c), sizeof r->name);
    }
}

/* Receives one datagram with so much room for ancillary data, and looks behind that. */
static struct received receive(int fd, size_t room) {
    char data[16];
    union {
        char octets[512];
        struct cmsghdr align;
    } control;
    struct received r;
    struct iovec io = {data, sizeof data};
    struct msghdr m;
    size_t i;
    memset(&r, 0, sizeof r);
    memset(&m, 0, sizeof m);
    memset(&control, 0x55, sizeof control);
    m.msg_iov = &io, m.msg_iovlen = 1;
    m.msg_name = &r.name, m.msg_namelen = sizeof r.name;
    if (room > 0)
        m.msg_control = &control, m.msg_controllen = room;
    r.octets = shim_recvmsg(fd, &m, 0);
    CHECK(r.octets == 5);
    CHECK(m.msg_controllen <= room);
    for (i = room; i < sizeof control && control.octets[i] == 0x55; i++)
        ;
    CHECK(i == sizeof control);
    parse(&r, &m);
    return r;
}

static int is(const struct received *r, int i, int type, const char *locator) {
    struct in6_addr wanted = addr(locator);
    return r->pieces > i && r->level[i] == SOL_SHIM && r->type[i] == type &&
           same(&r->locator[i].sin6_addr, &wanted) && r->locator[i].sin6_port == 0;
}

static int get_int(int fd, int name) {
    int value = 7;
    socklen_t len = sizeof value;
    return shim_getsockopt(fd, SOL_SHIM, name, &value, &len) == 0 ? value : -errno;
}

// req-test: AP-6.6-01, AP-6.7-01, AP-7-01, AP-7-02, AP-7-03
static void locators(int fd) {
    const socklen_t size = sizeof on;
    struct received r;
    CHECK(get_int(fd, SHIM_LOC_LOCAL_RECV) == 0 && get_int(fd, SHIM_LOC_PEER_RECV) == 0);
    datagram(fd);
    r = receive(fd, 512);
    CHECK(r.pieces == 0 && r.flags == 0);

    CHECK(shim_setsockopt(fd, SOL_SHIM, SHIM_LOC_PEER_RECV, &on, size) == 0);
    CHECK(get_int(fd, SHIM_LOC_LOCAL_RECV) == 0 && get_int(fd, SHIM_LOC_PEER_RECV) == 1);
    datagram(fd);
    r = receive(fd, 512);
    CHECK(r.pieces == 1 && is(&r, 0, SHIM_LOC_PEER_RECV, "2001:db8:3::b"));
    CHECK(r.locator[0].sin6_family == AF_INET6 && same(&r.name.sin6_addr, &there));

    CHECK(shim_setsockopt(fd, SOL_SHIM, SHIM_LOC_LOCAL_RECV, &on, size) == 0);
    CHECK(shim_setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, size) == 0);
    datagram(fd);
    r = receive(fd, 512);
    CHECK(r.pieces == 3 && r.level[0] == IPPROTO_IPV6 && r.type[0] == IPV6_PKTINFO);
    CHECK(is(&r, 1, SHIM_LOC_LOCAL_RECV, "2001:db8:2::a"));
    CHECK(is(&r, 2, SHIM_LOC_PEER_RECV, "2001:db8:3::b"));

    /* Room for less, and for nothing. */
    datagram(fd);
    r = receive(fd, CMSG_SPACE(sizeof(struct in6_pktinfo)) + CMSG_SPACE(sizeof r.name));
    CHECK(r.pieces == 2 && (r.flags & MSG_CTRUNC) != 0);
    datagram(fd);
    r = receive(fd, CMSG_SPACE(sizeof(struct in6_pktinfo)) + CMSG_LEN(sizeof r.name) - 1);
    CHECK(r.pieces == 1 && (r.flags & MSG_CTRUNC) != 0);
    datagram(fd);
    r = receive(fd, 0);
    CHECK(r.pieces == 0 && (r.flags & MSG_CTRUNC) != 0);

    CHECK(shim_setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &off, size) == 0);
    CHECK(shim_setsockopt(fd, SOL_SHIM, SHIM_LOC_PEER_RECV, &off, size) == 0);
    datagram(fd);
    r = receive(fd, CMSG_LEN(sizeof r.name));
    CHECK(r.pieces == 1 && is(&r, 0, SHIM_LOC_LOCAL_RECV, "2001:db8:2::a") && r.flags == 0);
}

/* Other descriptors of the socket, children, threads, several messages at once; other sockets. */
static void sharing(int fd) {
    struct mmsghdr many[3];
    struct received r;
    struct iovec io[3];
    char data[3][8], control[3][128];
    int copy = dup(fd), other = connected(9), i, status = 1;

    datagram(copy);
    r = receive(copy, 512);
    CHECK(r.pieces == 1);
    CHECK(get_int(other, SHIM_LOC_LOCAL_RECV) == 0);
    datagram(other);
    r = receive(other, 512);
    CHECK(r.pieces == 0);
    close(copy), close(other);
    datagram(fd);
    if (fork() == 0) {
        r = receive(fd, 512);
        _exit(r.pieces == 1 && get_int(fd, SHIM_LOC_LOCAL_RECV) == 1 && failures == 0 ? 0 : 1);
    }
    CHECK(waitpid(-1, &status, 0) > 0 && status == 0);

    memset(many, 0, sizeof many);
    for (i = 0; i < 3; i++) {
        io[i].iov_base = data[i], io[i].iov_len = sizeof data[i];
        many[i].msg_hdr.msg_iov = &io[i], many[i].msg_hdr.msg_iovlen = 1;
        many[i].msg_hdr.msg_control = control[i];
        many[i].msg_hdr.msg_controllen = i == 1 ? 0 : sizeof control[i];
    }
    datagram(fd), datagram(fd);
    CHECK(shim_recvmmsg(fd, many, 3, MSG_WAITFORONE, NULL) == 2);
    CHECK(many[1].msg_len == 5 && (many[1].msg_hdr.msg_flags & MSG_CTRUNC) != 0);
    memset(&r, 0, sizeof r);
    parse(&r, &many[0].msg_hdr);
    CHECK(r.pieces == 1 && is(&r, 0, SHIM_LOC_LOCAL_RECV, "2001:db8:2::a"));
    CHECK(shim_recvmmsg(fd, many, 3, MSG_DONTWAIT, NULL) == -1 && errno == EAGAIN);
}

static void *receiver(void *unused) {
    long wrong = 0;
    int fd = connected(9), i;
    if (shim_setsockopt(fd, SOL_SHIM, SHIM_LOC_PEER_RECV, &on, sizeof on) != 0)
        wrong++;
    for (i = 0; i < 50; i++) {
        datagram(fd);
        wrong += receive(fd, 512).pieces != 1;
    }
    close(fd);
    (void)unused;
    return (void *)wrong;
}

/* Sends "hello" with one piece of ancillary data, or two: 0, or -errno. */
static int send_with(int fd, int level, int type, const void *value, size_t size, int tclass) {
    union {
        char octets[256];
        struct cmsghdr align;
    } control;
    struct iovec io = {(void *)"hello", 5};
    struct msghdr m;
    struct cmsghdr *c;
    memset(&m, 0, sizeof m);
    memset(&control, 0, sizeof control);
    m.msg_iov = &io, m.msg_iovlen = 1;
    m.msg_control = &control;
    m.msg_controllen = CMSG_SPACE(size) + (tclass ? CMSG_SPACE(sizeof tclass) : 0);
    c = CMSG_FIRSTHDR(&m);
    c->cmsg_level = level, c->cmsg_type = type, c->cmsg_len = CMSG_LEN(size);
    memcpy(CMSG_DATA(c), value, size);
    if (tclass) {
        c = CMSG_NXTHDR(&m, c);
        c->cmsg_level = IPPROTO_IPV6, c->cmsg_type = IPV6_TCLASS;
        c->cmsg_len = CMSG_LEN(sizeof tclass);
        memcpy(CMSG_DATA(c), &tclass, sizeof tclass);
    }
    errno = 0;
    return shim_sendmsg(fd, &m, 0) == 5 ? 0 : -errno;
}

static int send_by(int fd, int type, const char *locator) {
    struct sockaddr_in6 sa;
    memset(&sa, 0, sizeof sa);
    sa.sin6_family = AF_INET6, sa.sin6_addr = addr(locator);
    return send_with(fd, SOL_SHIM, type, &sa, sizeof sa, 0);
}

/* How many datagrams "there" has got since the last look; the class of the last one. */
static int arrived(int *tclass) {
    char data[16], control[64];
    struct iovec io = {data, sizeof data};
    struct msghdr m;
    int count = 0;
    for (;; count++) {
        memset(&m, 0, sizeof m);
        m.msg_iov = &io, m.msg_iovlen = 1;
        m.msg_control = control, m.msg_controllen = sizeof control;
        if (recvmsg(sender, &m, MSG_DONTWAIT) < 0)
            return count;
        if (tclass != NULL && CMSG_FIRSTHDR(&m) != NULL)
            memcpy(tclass, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof *tclass);
    }
}

// req-test: AP-7.3-01, AP-7.3-02, AP-8.3-02, AP-8.3-03
static void feedback(int unconnected, int idle, int fd) {
    struct shim_feedback bad = {SHIM_FEEDBACK_OUTBOUND, SHIM_FEEDBACK_UNABLE, 0x7777};
    struct shim_feedback none = {SHIM_FEEDBACK_OUTBOUND, SHIM_FEEDBACK_NONE, 0};
    struct shim_feedback wrong = {2, SHIM_FEEDBACK_UNABLE, 0};
    int tclass = 0;
    arrived(NULL);
    CHECK(send_with(fd, SOL_SHIM, SHIM_FEEDBACK, &bad, sizeof bad, 0) == 0);
    CHECK(send_with(fd, SOL_SHIM, SHIM_FEEDBACK, &none, sizeof none, 0x28) == 0);
    CHECK(arrived(&tclass) == 2 && tclass == 0x28);
    CHECK(send_with(fd, SOL_SHIM, SHIM_FEEDBACK, &wrong, sizeof wrong, 0) == -EINVAL);
    CHECK(send_with(fd, SOL_SHIM, SHIM_FEEDBACK, &bad, 3, 0) == -EINVAL);
    CHECK(send_with(idle, SOL_SHIM, SHIM_FEEDBACK, &bad, sizeof bad, 0) == -ENOENT);
    CHECK(send_with(unconnected, SOL_SHIM, SHIM_FEEDBACK, &bad, sizeof bad, 0) == -EOPNOTSUPP);
    CHECK(send_with(-1, SOL_SHIM, SHIM_FEEDBACK, &bad, sizeof bad, 0) == -EBADF);
    CHECK(send_with(fd, IPPROTO_IPV6, IPV6_TCLASS, &tclass, sizeof tclass, 0) == 0);
    CHECK(arrived(NULL) == 1);
}

// req-test: AP-3-01, AP-7-01, AP-7-02, AP-7.2-02
static void one_datagram(int unconnected, int idle, int fd) {
    struct sockaddr_in ipv4;
    struct sockaddr_in6 family;
    memset(&ipv4, 0, sizeof ipv4);
    memset(&family, 0, sizeof family);
    ipv4.sin_family = AF_INET, family.sin6_family = AF_INET;
    arrived(NULL);
    CHECK(send_by(unconnected, SHIM_LOC_PEER_SEND, "2001:db8:2::b") == -EOPNOTSUPP);
    CHECK(send_by(idle, SHIM_LOC_PEER_SEND, "2001:db8:2::b") == -ENOENT);
    CHECK(send_by(fd, SHIM_LOC_PEER_SEND, "2001:db8:9::b") == -EINVALIDLOCATOR);
    CHECK(send_by(fd, SHIM_LOC_LOCAL_SEND, "2001:db8:9::a") == -EINVALIDLOCATOR);
    CHECK(send_by(fd, SHIM_LOC_PEER_SEND, "2001:db8:3::b") == -EUNVERIFIEDLOCATOR);
    CHECK(send_by(fd, SHIM_LOC_PEER_SEND, "2001:db8:4::b") == -EUNREACHABLELOCATOR);
    CHECK(send_by(fd, SHIM_LOC_PEER_RECV, "2001:db8:2::b") == -EINVAL);
    CHECK(send_by(fd, SHIM_ASSOCIATED, "2001:db8:2::b") == -EINVAL);
    CHECK(send_with(fd, SOL_SHIM, SHIM_LOC_PEER_SEND, &ipv4, sizeof ipv4, 0) == -EINVALIDLOCATOR);
    CHECK(send_with(fd, SOL_SHIM, SHIM_LOC_PEER_SEND, &family, sizeof family, 0) ==
          -EINVALIDLOCATOR);
    CHECK(send_with(fd, SOL_SHIM, SHIM_LOC_PEER_SEND, &family, 4, 0) == -EINVAL);
    CHECK(arrived(NULL) == 0);
}

// req-test: AP-6.8-01, AP-6.9-01, AP-7.2-01
static void and_back_again(int fd) {
    struct shim_locator l;
    struct in6_addr chosen = addr("2001:db8:2::a");
    struct mmsghdr two[2];
    struct iovec io = {(void *)"hello", 5};
    struct shim_feedback fine = {SHIM_FEEDBACK_OUTBOUND, SHIM_FEEDBACK_SATISFACTORY, 0};
    char control[CMSG_SPACE(sizeof fine)];
    struct cmsghdr *c;
    socklen_t len = sizeof l;

    memset(&l, 0, sizeof l);
    l.lc_family = AF_INET6, l.lc_addr = chosen;
    CHECK(shim_setsockopt(fd, SOL_SHIM, SHIM_LOC_LOCAL_SEND, &l, sizeof l) == 0);
    CHECK(send_by(fd, SHIM_LOC_LOCAL_SEND, "2001:db8:1::a") == 0);
    CHECK(shim_getsockopt(fd, SOL_SHIM, SHIM_LOC_LOCAL_SEND, &l, &len) == 0);
    CHECK(same(&l.lc_addr, &chosen));
    CHECK(send_by(fd, SHIM_LOC_PEER_SEND, "2001:db8:2::b") == 0);
    CHECK(shim_getsockopt(fd, SOL_SHIM, SHIM_LOC_PEER_SEND, &l, &len) == 0 && l.lc_family == 0);

    l.lc_family = AF_INET6, l.lc_addr = addr("2001:db8:2::b");
    chosen = l.lc_addr;
    CHECK(shim_setsockopt(fd, SOL_SHIM, SHIM_LOC_PEER_SEND, &l, sizeof l) == 0);
    CHECK(shim_getsockopt(fd, SOL_SHIM, SHIM_LOC_PEER_SEND, &l, &len) == 0);
    CHECK(same(&l.lc_addr, &chosen));
    /* All zeros cancel the choice. */
    memset(&l, 0, sizeof l);
    CHECK(shim_setsockopt(fd, SOL_SHIM, SHIM_LOC_PEER_SEND, &l, sizeof l) == 0);
    CHECK(shim_setsockopt(fd, SOL_SHIM, SHIM_LOC_LOCAL_SEND, &l, sizeof l) == 0);
    memset(&l, 0xff, sizeof l);
    CHECK(shim_getsockopt(fd, SOL_SHIM, SHIM_LOC_PEER_SEND, &l, &len) == 0 && l.lc_family == 0);
    CHECK(shim_getsockopt(fd, SOL_SHIM, SHIM_LOC_LOCAL_SEND, &l, &len) == 0 && l.lc_family == 0);

    memset(two, 0, sizeof two);
    memset(control, 0, sizeof control);
    two[0].msg_hdr.msg_iov = two[1].msg_hdr.msg_iov = &io;
    two[0].msg_hdr.msg_iovlen = two[1].msg_hdr.msg_iovlen = 1;
    CHECK(shim_sendmmsg(fd, two, 2, 0) == 2 && two[1].msg_len == 5);
    two[1].msg_hdr.msg_control = control, two[1].msg_hdr.msg_controllen = sizeof control;
    c = CMSG_FIRSTHDR(&two[1].msg_hdr);
    c->cmsg_level = SOL_SHIM, c->cmsg_type = SHIM_FEEDBACK, c->cmsg_len = CMSG_LEN(sizeof fine);
    memcpy(CMSG_DATA(c), &fine, sizeof fine);
    two[1].msg_len = 0;
    CHECK(shim_sendmmsg(fd, two, 2, 0) == 2 && two[1].msg_len == 5);
    c->cmsg_type = SHIM_LOC_PEER_RECV;
    CHECK(shim_sendmmsg(fd, two, 2, 0) == 1);
    CHECK(shim_sendmmsg(fd, two + 1, 1, 0) == -1 && errno == EINVAL);
}

// req-test: AP-7.1-01
static void no_context_any_more(int fd) {
    struct shim_feedback fine = {SHIM_FEEDBACK_INBOUND, SHIM_FEEDBACK_SATISFACTORY, 0};
    int64_t end = now_ms() + 5000;
    struct received r;
    CHECK(shim_setsockopt(fd, SOL_SHIM, SHIM_LOC_PEER_RECV, &on, sizeof on) == 0);
    datagram(fd);
    r = receive(fd, 512);
    CHECK(is(&r, 0, SHIM_LOC_PEER_RECV, "2001:db8:3::b"));
    CHECK(send_with(fd, SOL_SHIM, SHIM_FEEDBACK, &fine, sizeof fine, 0) == 0);
    do {
        datagram(fd);
        r = receive(fd, 512);
    } while (!is(&r, 0, SHIM_LOC_PEER_RECV, "::") && now_ms() < end);
    CHECK(r.pieces == 1 && r.locator[0].sin6_family == 0 && is(&r, 0, SHIM_LOC_PEER_RECV, "::"));
}

// req-test: AP-7.4-01, AP-9-01
static void stream(void) {
    struct sockaddr_in6 sa = end_point(&there, 0), from = end_point(&here, 0);
    struct shim_feedback fine = {SHIM_FEEDBACK_OUTBOUND, SHIM_FEEDBACK_SATISFACTORY, 0};
    int listener = socket(AF_INET6, SOCK_STREAM, 0), fd = socket(AF_INET6, SOCK_STREAM, 0), peer;
    socklen_t len = sizeof sa;
    struct received r;

    if (bind(listener, (struct sockaddr *)&sa, sizeof sa) != 0 || listen(listener, 1) != 0 ||
        getsockname(listener, (struct sockaddr *)&sa, &len) != 0 ||
        bind(fd, (struct sockaddr *)&from, sizeof from) != 0 ||
        connect(fd, (struct sockaddr *)&sa, sizeof sa) != 0 ||
        (peer = accept(listener, NULL, NULL)) < 0)
        exit(2);
    CHECK(get_int(fd, SHIM_ASSOCIATED) == 1 && get_int(peer, SHIM_ASSOCIATED) == 0);
    CHECK(shim_setsockopt(fd, SOL_SHIM, SHIM_LOC_PEER_RECV, &on, sizeof on) == 0);
    CHECK(send(peer, "hello", 5, 0) == 5);
    r = receive(fd, 512);
    CHECK(r.pieces == 1 && is(&r, 0, SHIM_LOC_PEER_RECV, "2001:db8:3::b"));
    /* A stream has no datagrams to choose locators for. */
    CHECK(send_by(fd, SHIM_LOC_PEER_SEND, "2001:db8:2::b") == -EOPNOTSUPP);
    CHECK(send_with(fd, SOL_SHIM, SHIM_FEEDBACK, &fine, sizeof fine, 0) == 0);
    close(listener), close(fd), close(peer);
}

static void hostile(int fd) {
    char control[64];
    struct cmsghdr *c = (struct cmsghdr *)control;
    struct iovec io = {(void *)"hello", 5};
    struct msghdr m;
    memset(&m, 0, sizeof m);
    memset(control, 0, sizeof control);
    m.msg_iov = &io, m.msg_iovlen = 1, m.msg_control = control;
    arrived(NULL);
    /* One piece of ours, and another that says it is longer than there is room. */
    c->cmsg_level = SOL_SHIM, c->cmsg_type = SHIM_FEEDBACK, c->cmsg_len = CMSG_LEN(4);
    control[CMSG_SPACE(4)] = 100;
    m.msg_controllen = CMSG_SPACE(4) + sizeof *c;
    CHECK(shim_sendmsg(fd, &m, 0) == -1 && errno == EINVAL);
    /* Lengths below a header, and beyond the end, are for the system to refuse. */
    c->cmsg_len = 3;
    CHECK(shim_sendmsg(fd, &m, 0) == -1 && errno == EINVAL);
    c->cmsg_len = (size_t)-1;
    CHECK(shim_sendmsg(fd, &m, 0) == -1 && errno == EINVAL);
    CHECK(arrived(NULL) == 0);
    if (getenv("UNDER_VALGRIND") == NULL) {
        struct msghdr *volatile nothing = NULL;
        CHECK(shim_sendmsg(fd, nothing, 0) == -1 && errno == EFAULT);
        CHECK(shim_recvmsg(fd, nothing, MSG_DONTWAIT) == -1);
    }
    CHECK(shim_sendmmsg(fd, NULL, 0, 0) == 0);
}

int main(int argc, char **argv) {
    int unconnected, idle, fd, pinning, pinned, forgetting;
    struct sockaddr_in6 sa;

    begin(argc, argv);
    sa = end_point(&there, 9);
    sender = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    setsockopt(sender, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    setsockopt(sender, IPPROTO_IPV6, IPV6_RECVTCLASS, &on, sizeof on);
    if (bind(sender, (struct sockaddr *)&sa, sizeof sa) != 0)
        return 2;
    unconnected = socket(AF_INET6, SOCK_DGRAM, 0);
    fd = connected(9);
    struct in6_addr swap = here;
    here = there, there = swap;
    idle = connected(10);
    there = here, here = swap;
    /* Somebody has to be there, or the kernel says that nobody is. */
    pinned = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    sa = end_point(&there, PINNING);
    if (bind(pinned, (struct sockaddr *)&sa, sizeof sa) != 0)
        return 2;
    pinning = connected(PINNING), forgetting = connected(FORGETTING);
    hostile(fd);
    feedback(unconnected, idle, fd);
    one_datagram(unconnected, idle, fd);
    and_back_again(pinning);
    locators(fd);
    sharing(fd);
    CHECK(in_threads(receiver) == 0);
    stream();
    close(sender);
    sender = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    sa = end_point(&there, FORGETTING);
    if (bind(sender, (struct sockaddr *)&sa, sizeof sa) != 0)
        return 2;
    no_context_any_more(forgetting);
    close(unconnected), close(idle), close(fd), close(pinning), close(pinned), close(forgetting), close(sender);
    return finish();
}
