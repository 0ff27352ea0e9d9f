/* RFC 6316's options by shim_setsockopt and shim_getsockopt: a matrix of option, direction and state of the socket. */
#include "check.h"
#include <stddef.h>

static int get(int fd, int name, void *value, socklen_t size) {
    socklen_t len = size;
    errno = 0;
    if (shim_getsockopt(fd, SOL_SHIM, name, value, &len) == 0)
        return (int)len;
    return -errno;
}

static int set(int fd, int name, const void *value, socklen_t len) {
    errno = 0;
    return shim_setsockopt(fd, SOL_SHIM, name, value, len) == 0 ? 0 : -errno;
}

static int set_int(int fd, int name, int value) { return set(fd, name, &value, sizeof value); }

static struct shim_locator locator(const char *text) {
    struct shim_locator l;
    memset(&l, 0, sizeof l);
    l.lc_family = AF_INET6;
    l.lc_addr = addr(text);
    return l;
}

/* Takes any value of the right size for each option. */
static int set_any(int fd, int name) {
    struct shim_locator l = locator("2001:db8:2::b");
    struct shim_pathexplore pe = {6, 10, 5, 200, 0};
    switch (name) {
    case SHIM_LOC_LOCAL_PREF:
    case SHIM_LOC_LOCAL_SEND:
    case SHIM_LOCLIST_LOCAL:
        l = locator("2001:db8:2::a");
        return set(fd, name, &l, sizeof l);
    case SHIM_LOC_PEER_PREF:
    case SHIM_LOC_PEER_SEND:
    case SHIM_LOCLIST_PEER:
        return set(fd, name, &l, sizeof l);
    case SHIM_APP_TIMEOUT:
        return set_int(fd, name, 20);
    case SHIM_PATHEXPLORE:
        return set(fd, name, &pe, sizeof pe);
    default:
        return set_int(fd, name, 1);
    }
}

/* What get and set give for an option on a socket without peer, on one without context, and what set gives with one. */
static const struct row {
    int name, get_unconnected, set_unconnected, get_idle, set_idle, set_context;
} rows[] = {
    {SHIM_ASSOCIATED, -EOPNOTSUPP, -EINVAL, 4, -EINVAL, -EINVAL},
    {SHIM_DONTSHIM, 4, 0, 4, -EOPNOTSUPP, -EOPNOTSUPP},
    {SHIM_HOT_STANDBY, -EOPNOTSUPP, -EOPNOTSUPP, -ENOENT, -ENOENT, 0},
    {SHIM_LOC_LOCAL_PREF, -EOPNOTSUPP, -EOPNOTSUPP, -ENOENT, -ENOENT, 0},
    {SHIM_LOC_PEER_PREF, -EOPNOTSUPP, -EOPNOTSUPP, -ENOENT, -ENOENT, 0},
    {SHIM_LOC_LOCAL_RECV, -EOPNOTSUPP, -EOPNOTSUPP, -ENOENT, -ENOENT, 0},
    {SHIM_LOC_PEER_RECV, -EOPNOTSUPP, -EOPNOTSUPP, -ENOENT, -ENOENT, 0},
    {SHIM_LOC_LOCAL_SEND, -EOPNOTSUPP, -EOPNOTSUPP, -ENOENT, -ENOENT, 0},
    {SHIM_LOC_PEER_SEND, -EOPNOTSUPP, -EOPNOTSUPP, -ENOENT, -ENOENT, 0},
    {SHIM_LOCLIST_LOCAL, -EOPNOTSUPP, -EOPNOTSUPP, -ENOENT, -ENOENT, 0},
    {SHIM_LOCLIST_PEER, -EOPNOTSUPP, -EOPNOTSUPP, -ENOENT, -ENOENT, 0},
    {SHIM_APP_TIMEOUT, -EOPNOTSUPP, -EOPNOTSUPP, -ENOENT, -ENOENT, 0},
    {SHIM_PATHEXPLORE, -EOPNOTSUPP, -EOPNOTSUPP, -ENOENT, -ENOENT, 0},
    {SHIM_CONTEXT_DEFERRED_SETUP, -EOPNOTSUPP, -EINVAL, 4, -EINVAL, -EINVAL},
};
#define ROWS (sizeof rows / sizeof *rows)

#define SAME(row, wanted, call)                                                                    \
    do {                                                                                           \
        int got_ = (call);                                                                         \
        if (got_ != (wanted)) {                                                                    \
            failures++;                                                                            \
            fprintf(stderr, "%s:%d: option %d: %s gives %d instead of %d\n", __FILE__, __LINE__,   \
                    (row)->name, #call, got_, (wanted));                                           \
        }                                                                                          \
    } while (0)

// req-test: AP-6.1-01, AP-6.1-03, AP-6.1-04, AP-6.2-03, AP-6.3-02, AP-6.6-02, AP-6.7-02, AP-6.12-02, AP-6.13-02
// req-test: AP-6-02, AP-6.14-02, AP-6.15-01, AP-6.16-01
static void matrix(int unconnected, int idle, int served) {
    struct shim_locator buffer[SHIM_MAX_LOCATORS];
    const struct row *r;
    for (r = rows; r < rows + ROWS; r++) {
        SAME(r, r->get_unconnected, get(unconnected, r->name, buffer, sizeof buffer));
        SAME(r, r->set_unconnected, set_any(unconnected, r->name));
        SAME(r, r->get_idle, get(idle, r->name, buffer, sizeof buffer));
        SAME(r, r->set_idle, set_any(idle, r->name));
        SAME(r, r->set_context, set_any(served, r->name));
        CHECK(get(served, r->name, buffer, sizeof buffer) > 0);
        CHECK(get(served, r->name, buffer, 1) < 0);
        CHECK(get(served, r->name, NULL, 4) == -EFAULT);
        CHECK(set(served, r->name, NULL, 4) == -EFAULT);
        CHECK(set(served, r->name, buffer, 1) == -EINVAL);
    }
    CHECK(get(served, 0, buffer, 4) == -EINVAL && get(served, 16, buffer, 4) == -EINVAL);
    CHECK(set_int(served, 0, 1) == -EINVAL && set_int(served, SHIM_FEEDBACK, 1) == -EINVAL);
    CHECK(get(-1, SHIM_ASSOCIATED, buffer, 4) == -EBADF);
}

// req-test: AP-6.1-02, AP-6.2-01, AP-6.14-01
static void numbers(int unconnected, int idle, int served) {
    int value = 7;
    CHECK(SHIM_DEFERRED_CONTEXT_SETUP == SHIM_CONTEXT_DEFERRED_SETUP);
    CHECK(get(unconnected, SHIM_ASSOCIATED, &value, sizeof value) == -EOPNOTSUPP && value == 2);
    CHECK(get(idle, SHIM_ASSOCIATED, &value, sizeof value) == 4 && value == 0);
    CHECK(get(served, SHIM_ASSOCIATED, &value, sizeof value) == 4 && value == 1);
    CHECK(get(unconnected, SHIM_DONTSHIM, &value, sizeof value) == 4 && value == 0);
    CHECK(get(idle, SHIM_DEFERRED_CONTEXT_SETUP, &value, sizeof value) == 4 && value == 1);
    value = 7;
    CHECK(get(served, SHIM_APP_TIMEOUT, &value, sizeof value) == 4 && value == 0);
    CHECK(get(served, SHIM_LOC_PEER_RECV, &value, sizeof value) == 4 && value == 1);
    CHECK(set_int(unconnected, SHIM_DONTSHIM, 0) == 0);
    CHECK(set_int(unconnected, SHIM_DONTSHIM, 2) == -EINVAL);
    // req-test: AP-6.3-01
    CHECK(set_int(served, SHIM_HOT_STANDBY, 1) == 0);
    CHECK(get(served, SHIM_HOT_STANDBY, &value, sizeof value) == 4 && value == 1);
    CHECK(set_int(served, SHIM_HOT_STANDBY, 0) == 0);
    CHECK(get(served, SHIM_HOT_STANDBY, &value, sizeof value) == 4 && value == 0);
    CHECK(set_int(served, SHIM_HOT_STANDBY, 2) == -EINVAL);
    CHECK(set_int(served, SHIM_LOC_LOCAL_RECV, 0) == 0);
    CHECK(set_int(served, SHIM_LOC_LOCAL_RECV, 2) == -EINVAL);
    CHECK(set_int(served, SHIM_APP_TIMEOUT, 0) == 0);
    CHECK(set_int(served, SHIM_APP_TIMEOUT, -1) == -EINVAL);
    CHECK(set_int(served, SHIM_APP_TIMEOUT, 1) == -EINVAL);
}

// req-test: AP-3-01, AP-3-02, AP-6.4-02, AP-6.5-02, AP-6.8-02, AP-6.9-02, AP-6.10-02, AP-6.10-03, AP-6.11-01, AP-6.11-03
// req-test: AP-6.10-01, AP-6.11-02, AP-8.1-02, AP-8.1-03, AP-8.1-04, AP-8.1-05
static void locators(int fd) {
    struct shim_locator list[SHIM_MAX_LOCATORS + 1], one, zero;
    struct in6_addr peer2 = addr("2001:db8:2::b");
    size_t i;

    CHECK(get(fd, SHIM_LOCLIST_LOCAL, list, sizeof list) == 2 * (int)sizeof one);
    CHECK(same(&list[0].lc_addr, &here) && list[0].lc_family == AF_INET6 && list[0].lc_proto == 0);
    CHECK(list[0].lc_flags == SHIM_LOCATOR_HBA && list[1].lc_flags == SHIM_LOCATOR_CGA);
    CHECK(list[0].lc_ifidx != 0 && list[1].lc_ifidx == 0);
    CHECK(get(fd, SHIM_LOCLIST_PEER, list, sizeof list) == 4 * (int)sizeof one);
    CHECK(get(fd, SHIM_LOCLIST_PEER, list, 4 * sizeof one) == 4 * (int)sizeof one);
    CHECK(get(fd, SHIM_LOCLIST_PEER, list, sizeof one) == -ETOOMANYLOCATORS);
    CHECK(get(fd, SHIM_LOC_PEER_PREF, &one, sizeof one) == sizeof one);
    CHECK(same(&one.lc_addr, &peer2) && one.lc_prio == 1 && one.lc_weight == 10);
    CHECK(get(fd, SHIM_LOC_LOCAL_PREF, &one, sizeof one) == sizeof one);
    CHECK(same(&one.lc_addr, &here));
    memset(&zero, 0, sizeof zero);
    memset(&one, 0xff, sizeof one);
    CHECK(get(fd, SHIM_LOC_PEER_SEND, &one, sizeof one) == sizeof one);
    CHECK(one.lc_family == 0 && same(&one.lc_addr, &zero.lc_addr));
    CHECK(set(fd, SHIM_LOC_PEER_SEND, &zero, sizeof zero) == 0);
    CHECK(set(fd, SHIM_LOC_LOCAL_SEND, &zero, sizeof zero) == 0);

    one = locator("2001:db8:9::b");
    CHECK(set(fd, SHIM_LOC_PEER_SEND, &one, sizeof one) == -EINVALIDLOCATOR);
    CHECK(set(fd, SHIM_LOC_PEER_PREF, &one, sizeof one) == -EINVALIDLOCATOR);
    CHECK(set(fd, SHIM_LOC_LOCAL_SEND, &one, sizeof one) == -EINVALIDLOCATOR);
    CHECK(set(fd, SHIM_LOC_LOCAL_PREF, &one, sizeof one) == -EINVALIDLOCATOR);
    CHECK(set(fd, SHIM_LOCLIST_LOCAL, &one, sizeof one) == -EINVALIDLOCATOR);
    CHECK(set(fd, SHIM_LOCLIST_PEER, &one, sizeof one) == -EINVALIDLOCATOR);
    one = locator("2001:db8:3::b");
    CHECK(set(fd, SHIM_LOC_PEER_SEND, &one, sizeof one) == -EUNVERIFIEDLOCATOR);
    CHECK(set(fd, SHIM_LOCLIST_PEER, &one, sizeof one) == -EUNVERIFIEDLOCATOR);
    one = locator("2001:db8:4::b");
    CHECK(set(fd, SHIM_LOC_PEER_SEND, &one, sizeof one) == -EUNREACHABLELOCATOR);
    CHECK(set(fd, SHIM_LOC_PEER_PREF, &one, sizeof one) == -EUNREACHABLELOCATOR);
    CHECK(set(fd, SHIM_LOCLIST_PEER, &one, sizeof one) == -EUNREACHABLELOCATOR);
    one = locator("2001:db8:2::b");
    one.lc_family = AF_INET;
    CHECK(set(fd, SHIM_LOC_PEER_SEND, &one, sizeof one) == -EINVALIDLOCATOR);
    one.lc_family = AF_INET6, one.lc_proto = IPPROTO_UDP;
    CHECK(set(fd, SHIM_LOC_PEER_SEND, &one, sizeof one) == -EINVALIDLOCATOR);
    /* Both of ours, and a part of the peer's. */
    list[0] = locator("2001:db8:2::a"), list[1] = locator("2001:db8:1::a");
    list[1].lc_prio = 2;
    CHECK(set(fd, SHIM_LOCLIST_LOCAL, list, 2 * sizeof one) == 0);
    list[0] = locator("2001:db8:2::b");
    CHECK(set(fd, SHIM_LOCLIST_PEER, list, sizeof one) == 0);
    for (i = 0; i < SHIM_MAX_LOCATORS + 1; i++)
        list[i] = locator("2001:db8:2::a");
    CHECK(set(fd, SHIM_LOCLIST_LOCAL, list, sizeof list) == -ETOOMANYLOCATORS);
    CHECK(set(fd, SHIM_LOCLIST_LOCAL, list, sizeof list - 1) == -EINVAL);
    CHECK(set(fd, SHIM_LOCLIST_LOCAL, list, 0) == -EINVAL);
}

// req-test: AP-8.2-02
static void exploration(int fd) {
    static const struct shim_pathexplore bad[] = {
        {0, 10, 5, 200, 0}, {6, 1, 1, 200, 0}, {6, 10, 6, 200, 0}, {6, 10, 0, 200, 0},
        {6, 10, 5, 0, 0},   {6, 10, 5, 200, 1},
    };
    struct shim_pathexplore pe;
    size_t i;
    CHECK(get(fd, SHIM_PATHEXPLORE, &pe, sizeof pe) == sizeof pe);
    CHECK(pe.pe_probenum == 4 && pe.pe_keepaliveto == 15 && pe.pe_keepaliveint == 5);
    CHECK(pe.pe_initprobeto == 500 && pe.pe_reserved == 0);
    for (i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK(set(fd, SHIM_PATHEXPLORE, &bad[i], sizeof pe) == -EINVAL);
}

// req-test: AP-6-01, AP-6-03
static void other_levels(int fd) {
    int type = 0, on = 1;
    socklen_t len = sizeof type;
    struct sockaddr_in6 name;
    CHECK(shim_getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0 && type == SOCK_DGRAM);
    CHECK(shim_setsockopt(fd, SOL_SOCKET, SO_BROADCAST, &on, sizeof on) == 0);
    CHECK(shim_getsockopt(fd, 9999, SHIM_ASSOCIATED, &type, &len) == -1);
    CHECK(getsockopt(fd, SOL_SHIM, SHIM_ASSOCIATED, &type, &len) == -1);
    len = sizeof name;
    CHECK(getpeername(fd, (struct sockaddr *)&name, &len) == 0 && same(&name.sin6_addr, &there));
}

int main(int argc, char **argv) {
    int unconnected, idle, served;
    struct shim_handle *h = NULL;

    begin(argc, argv);
    unconnected = socket(AF_INET6, SOCK_DGRAM, 0);
    served = connected(9);
    /* The other way round there is no context. */
    struct in6_addr swap = here;
    here = there, there = swap;
    idle = connected(9);
    there = here, here = swap;
    EXPECT(SHIM_OK, shim_open(NULL, 0, &h));
    EXPECT(SHIM_OK, shim_set(h, served));
    shim_close(h);
    matrix(unconnected, idle, served);
    numbers(unconnected, idle, served);
    locators(served);
    exploration(served);
    other_levels(served);
    close(unconnected), close(idle), close(served);
    return finish();
}
