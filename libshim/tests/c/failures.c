/* Every call about a socket in every way that the world can fail it: closed descriptors, a daemon that keeps silent, denies,
 * has a fault, is not there, and is there again. tests/coverage.rs sees to it that no call is missing. */
#include "check.h"
#include <fcntl.h>
#include <sys/un.h>

/* All calls that take a handle and a socket. */
static void every(shim_result wanted, struct shim_handle *h, int fd) {
    struct shim_feedback bad = {SHIM_FEEDBACK_OUTBOUND, SHIM_FEEDBACK_UNABLE, 0};
    struct shim_locator_info list[SHIM_MAX_LOCATORS];
    struct shim_events *events = NULL;
    struct shim_status status;
    size_t count = SHIM_MAX_LOCATORS;
    int n;

    EXPECT(wanted, shim_set(h, fd));
    EXPECT(wanted, shim_is_associated(h, fd, &n));
    EXPECT(wanted, shim_get_status(h, fd, &status, sizeof status));
    EXPECT(wanted, shim_get_locators(h, fd, SHIM_SIDE_PEER, list, sizeof *list, &count));
    EXPECT(wanted, shim_test_pair(h, fd, &here, &there, &n, NULL));
    EXPECT(wanted, shim_give_feedback(h, fd, &bad));
    EXPECT(wanted, shim_subscribe(h, fd, &events));
    CHECK((events != NULL) == (wanted == SHIM_OK));
    shim_events_close(events);
}

/* Those that steer. */
static void steering(shim_result wanted, struct shim_handle *h, int fd) {
    EXPECT(wanted, shim_explore(h, fd));
    EXPECT(wanted, shim_pin_pair(h, fd, NULL, NULL));
    EXPECT(wanted, shim_switch_pair(h, fd, &here, &there, SHIM_KEEP_NO));
    EXPECT(wanted, shim_set_hot_standby(h, fd, 0));
    EXPECT(wanted, shim_set_send_timeout(h, fd, 0));
}

/* Those whose success depends on more than the daemon: they fail as the others do. */
static void failing(shim_result wanted, struct shim_handle *h, int fd) {
    EXPECT(wanted, shim_unset(h, fd));
    EXPECT(wanted, shim_fork_context(h, fd));
}

/* The system's shape: -1 and errno. */
static void options(int wanted, int fd) {
    struct shim_feedback bad = {SHIM_FEEDBACK_OUTBOUND, SHIM_FEEDBACK_UNABLE, 0};
    char control[CMSG_SPACE(sizeof bad)];
    struct iovec io = {(void *)"x", 1};
    struct msghdr m;
    struct cmsghdr *c;
    int value = 0;
    socklen_t len = sizeof value;

    errno = 0;
    CHECK(shim_setsockopt(fd, SOL_SHIM, SHIM_HOT_STANDBY, &value, sizeof value) == -1 &&
          errno == wanted);
    errno = 0;
    CHECK(shim_getsockopt(fd, SOL_SHIM, SHIM_ASSOCIATED, &value, &len) == -1 && errno == wanted);
    memset(&m, 0, sizeof m);
    memset(control, 0, sizeof control);
    m.msg_iov = &io, m.msg_iovlen = 1, m.msg_control = control, m.msg_controllen = sizeof control;
    c = CMSG_FIRSTHDR(&m);
    c->cmsg_level = SOL_SHIM, c->cmsg_type = SHIM_FEEDBACK, c->cmsg_len = CMSG_LEN(sizeof bad);
    memcpy(CMSG_DATA(c), &bad, sizeof bad);
    errno = 0;
    CHECK(shim_sendmsg(fd, &m, 0) == -1 && errno == wanted);
}

/* Somebody else's socket, that accepts and says nothing, or nonsense. */
static void impostors(void) {
    static const char *const nonsense[] = {"", "x", "{}", "{\"v\":1,\"id\":1,\"response\":{}}", "[[[["};
    struct shim_handle *h = NULL;
    struct sockaddr_un sa = {AF_UNIX, {0}};
    int fd = connected(9), n;
    size_t i;

    snprintf(sa.sun_path, sizeof sa.sun_path, "%s.impostor", getenv("SHIM6_SOCKET"));
    for (i = 0; i < sizeof nonsense / sizeof *nonsense; i++) {
        int peer, listener = socket(AF_UNIX, SOCK_SEQPACKET, 0);
        unlink(sa.sun_path);
        if (bind(listener, (struct sockaddr *)&sa, sizeof sa) != 0 || listen(listener, 9) != 0)
            exit(2);
        EXPECT(SHIM_OK, shim_open(sa.sun_path, 300, &h));
        peer = accept(listener, NULL, NULL);
        /* It is there before the question. */
        CHECK(send(peer, nonsense[i], strlen(nonsense[i]), 0) >= 0);
        n = shim_is_associated(h, fd, &n);
        CHECK(n == SHIM_ERR_PROTOCOL || n == SHIM_ERR_CLOSED || n == SHIM_ERR_TIMEOUT);
        CHECK(i == 0 || n == SHIM_ERR_PROTOCOL);
        shim_close(h);
        close(peer), close(listener);
    }
    unlink(sa.sun_path);
    close(fd);
}

int main(int argc, char **argv) {
    struct shim_handle *h = NULL, *late = NULL;
    struct shim_events *events = NULL;
    struct shim_event event;
    struct shim_status page;
    size_t count = 1;
    uint64_t after = 0;
    int fd, silent, denied, faulty, unable, closed, n;

    begin(argc, argv);
    fd = connected(9), silent = connected(SILENT), denied = connected(DENIED);
    faulty = connected(FAULTY);
    unable = connected(UNABLE);
    /* A number that nobody else takes. */
    closed = fcntl(fd, F_DUPFD, 900);
    close(closed);
    EXPECT(SHIM_OK, shim_open(NULL, 0, &h));
    EXPECT(SHIM_OK, shim_set(h, fd));
    every(SHIM_OK, h, fd);
    steering(SHIM_OK, h, fd);

    every(SHIM_ERR_DESCRIPTOR, h, closed);
    steering(SHIM_ERR_DESCRIPTOR, h, closed);
    failing(SHIM_ERR_DESCRIPTOR, h, closed);
    options(EBADF, closed);
    every(SHIM_ERR_DAEMON, h, faulty);
    steering(SHIM_ERR_DAEMON, h, faulty);
    failing(SHIM_ERR_DAEMON, h, faulty);
    options(EIO, faulty);
    steering(SHIM_ERR_PERMISSION, h, denied);
    steering(SHIM_ERR_NOT_SUPPORTED, h, unable);
    EXPECT(SHIM_ERR_PERMISSION, shim_unset(h, denied));
    EXPECT(SHIM_OK, shim_set_timeout(h, 50));
    every(SHIM_ERR_TIMEOUT, h, silent);
    steering(SHIM_ERR_TIMEOUT, h, silent);
    failing(SHIM_ERR_TIMEOUT, h, silent);
    EXPECT(SHIM_ERR_TIMEOUT, shim_check_peer(h, silent, NULL, 50, &n));
    EXPECT(SHIM_OK, shim_set_timeout(h, 0));
    impostors();

    EXPECT(SHIM_OK, shim_subscribe(h, fd, &events));
    printf("kill\n");
    wait_for_go("killed");
    n = shim_events_next(events, 2000, &event, sizeof event);
    CHECK(n == SHIM_ERR_CLOSED);
    shim_events_close(events);
    every(SHIM_ERR_NO_DAEMON, h, fd);
    steering(SHIM_ERR_NO_DAEMON, h, fd);
    failing(SHIM_ERR_NO_DAEMON, h, fd);
    EXPECT(SHIM_ERR_NO_DAEMON, shim_check_peer(h, fd, NULL, 50, &n));
    EXPECT(SHIM_ERR_NO_DAEMON, shim_list_contexts(h, &after, &page, sizeof page, &count));
    EXPECT(SHIM_ERR_NO_DAEMON, shim_list_locators(h, NULL, 0, &count));
    EXPECT(SHIM_ERR_NO_DAEMON, shim_get_policy(h, &there, &n));
    EXPECT(SHIM_ERR_NO_DAEMON, shim_open(NULL, 100, &late));
    options(ENOPROTOOPT, fd);

    wait_for_go("restart");
    EXPECT(SHIM_OK, shim_set(h, fd));
    every(SHIM_OK, h, fd);
    steering(SHIM_OK, h, fd);
    shim_close(h);
    close(fd), close(silent), close(denied), close(faulty);
    return finish();
}
