/* Every function of libshim against a daemon stub: what it gives, every error, NULL and hostile arguments. */
#include "check.h"


static void nulls(struct shim_handle *h, int fd) {
    struct shim_status status;
    struct shim_event event;
    struct shim_events *events;
    struct in6_addr a = here;
    size_t count = 0;
    uint64_t after = 0;
    int n;

    EXPECT(SHIM_ERR_NULL, shim_open(NULL, 100, NULL));
    EXPECT(SHIM_ERR_NULL, shim_set_timeout(NULL, 100));
    EXPECT(SHIM_ERR_NULL, shim_set(NULL, fd));
    EXPECT(SHIM_ERR_NULL, shim_unset(NULL, fd));
    EXPECT(SHIM_ERR_NULL, shim_is_associated(NULL, fd, &n));
    EXPECT(SHIM_ERR_NULL, shim_is_associated(h, fd, NULL));
    EXPECT(SHIM_ERR_NULL, shim_get_status(NULL, fd, &status, sizeof status));
    EXPECT(SHIM_ERR_NULL, shim_get_status(h, fd, NULL, sizeof status));
    EXPECT(SHIM_ERR_SIZE, shim_get_status(h, fd, &status, 0));
    EXPECT(SHIM_ERR_SIZE, shim_get_status(h, fd, &status, sizeof status + 1));
    EXPECT(SHIM_ERR_NULL, shim_get_locators(NULL, fd, SHIM_SIDE_LOCAL, NULL, 0, &count));
    EXPECT(SHIM_ERR_NULL, shim_get_locators(h, fd, SHIM_SIDE_LOCAL, NULL, 0, NULL));
    EXPECT(SHIM_ERR_ARGUMENT, shim_get_locators(h, fd, 2, NULL, 0, &count));
    EXPECT(SHIM_ERR_NULL, shim_test_pair(NULL, fd, &a, &a, &n, NULL));
    EXPECT(SHIM_ERR_NULL, shim_test_pair(h, fd, NULL, &a, &n, NULL));
    EXPECT(SHIM_ERR_NULL, shim_test_pair(h, fd, &a, NULL, &n, NULL));
    EXPECT(SHIM_ERR_NULL, shim_test_pair(h, fd, &a, &a, NULL, NULL));
    EXPECT(SHIM_ERR_NULL, shim_explore(NULL, fd));
    EXPECT(SHIM_ERR_NULL, shim_fork_context(NULL, fd));
    EXPECT(SHIM_ERR_NULL, shim_pin_pair(NULL, fd, &a, &a));
    EXPECT(SHIM_ERR_NULL, shim_switch_pair(NULL, fd, &a, &a, SHIM_KEEP_NO));
    EXPECT(SHIM_ERR_NULL, shim_switch_pair(h, fd, NULL, &a, SHIM_KEEP_NO));
    EXPECT(SHIM_ERR_NULL, shim_switch_pair(h, fd, &a, NULL, SHIM_KEEP_NO));
    EXPECT(SHIM_ERR_NULL, shim_set_hot_standby(NULL, fd, 1));
    EXPECT(SHIM_ERR_NULL, shim_set_send_timeout(NULL, fd, 20));
    EXPECT(SHIM_ERR_NULL, shim_give_feedback(NULL, fd, NULL));
    EXPECT(SHIM_ERR_NULL, shim_give_feedback(h, fd, NULL));
    EXPECT(SHIM_ERR_NULL, shim_subscribe(NULL, fd, &events));
    EXPECT(SHIM_ERR_NULL, shim_subscribe(h, fd, NULL));
    EXPECT(SHIM_ERR_NULL, shim_events_next(NULL, 0, &event, sizeof event));
    EXPECT(SHIM_ERR_NULL, shim_check_peer(NULL, fd, NULL, 100, &n));
    EXPECT(SHIM_ERR_NULL, shim_check_peer(h, fd, NULL, 100, NULL));
    EXPECT(SHIM_ERR_NULL, shim_list_contexts(NULL, &after, NULL, 0, &count));
    EXPECT(SHIM_ERR_NULL, shim_list_contexts(h, NULL, NULL, 0, &count));
    EXPECT(SHIM_ERR_NULL, shim_list_contexts(h, &after, NULL, 0, NULL));
    EXPECT(SHIM_ERR_NULL, shim_list_locators(NULL, NULL, 0, &count));
    EXPECT(SHIM_ERR_NULL, shim_list_locators(h, NULL, 0, NULL));
    EXPECT(SHIM_ERR_NULL, shim_get_policy(NULL, &a, &n));
    EXPECT(SHIM_ERR_NULL, shim_get_policy(h, NULL, &n));
    EXPECT(SHIM_ERR_NULL, shim_get_policy(h, &a, NULL));
    CHECK(shim_events_fd(NULL) == -1);
    shim_close(NULL);
    shim_events_close(NULL);
}

/* Descriptors that show nothing. */
static void descriptors(struct shim_handle *h) {
    struct shim_status status;
    int fds[2], ipv4 = socket(AF_INET, SOCK_DGRAM, 0);
    int listener = socket(AF_INET6, SOCK_STREAM, 0);
    if (pipe(fds) != 0 || ipv4 < 0 || listener < 0)
        exit(2);
    EXPECT(SHIM_ERR_DESCRIPTOR, shim_get_status(h, -1, &status, sizeof status));
    EXPECT(SHIM_ERR_DESCRIPTOR, shim_get_status(h, 100000, &status, sizeof status));
    EXPECT(SHIM_ERR_ARGUMENT, shim_get_status(h, fds[0], &status, sizeof status));
    EXPECT(SHIM_ERR_ARGUMENT, shim_get_status(h, ipv4, &status, sizeof status));
    EXPECT(SHIM_OK, shim_get_status(h, listener, &status, sizeof status));
    CHECK(status.state == SHIM_STATE_NONE && status.associated == 0 && status.rtt_us == -1);
    EXPECT(SHIM_ERR_NOT_CONNECTED, shim_set(h, listener));
    EXPECT(SHIM_ERR_NOT_CONNECTED, shim_explore(h, listener));
    EXPECT(SHIM_OK, shim_unset(h, listener));
    EXPECT(SHIM_ERR_NOT_CONNECTED, shim_fork_context(h, listener));
    close(fds[0]), close(fds[1]), close(ipv4), close(listener);
}

static void without_context(struct shim_handle *h, int fd) {
    struct shim_feedback bad = {SHIM_FEEDBACK_OUTBOUND, SHIM_FEEDBACK_UNABLE, 7};
    struct shim_feedback none = {SHIM_FEEDBACK_OUTBOUND, SHIM_FEEDBACK_NONE, 0};
    struct shim_status status;
    size_t count = 0;
    int n = 7;

    EXPECT(SHIM_OK, shim_is_associated(h, fd, &n));
    CHECK(n == 0);
    EXPECT(SHIM_OK, shim_get_status(h, fd, &status, sizeof status));
    CHECK(status.associated == 0 && status.state == SHIM_STATE_IDLE && status.context == 0);
    CHECK(same(&status.ulid_local, &here) && same(&status.ulid_peer, &there));
    CHECK(status.protocol == IPPROTO_UDP && status.peer_port == 9);
    EXPECT(SHIM_ERR_NO_CONTEXT, shim_get_locators(h, fd, SHIM_SIDE_PEER, NULL, 0, &count));
    EXPECT(SHIM_ERR_NO_CONTEXT, shim_test_pair(h, fd, &here, &there, &n, NULL));
    EXPECT(SHIM_ERR_NO_CONTEXT, shim_explore(h, fd));
    EXPECT(SHIM_ERR_NO_CONTEXT, shim_switch_pair(h, fd, &here, &there, SHIM_KEEP_NO));
    EXPECT(SHIM_ERR_NO_CONTEXT, shim_pin_pair(h, fd, &here, &there));
    EXPECT(SHIM_ERR_NO_CONTEXT, shim_set_hot_standby(h, fd, 1));
    EXPECT(SHIM_ERR_NO_CONTEXT, shim_set_send_timeout(h, fd, 20));
    EXPECT(SHIM_ERR_NO_CONTEXT, shim_give_feedback(h, fd, &bad));
    // req-test: AP-8.3-02
    EXPECT(SHIM_OK, shim_give_feedback(h, fd, &none));
    EXPECT(SHIM_ERR_NOT_POSSIBLE, shim_unset(h, fd));
}

static void with_context(struct shim_handle *h, int fd) {
    struct in6_addr local2 = addr("2001:db8:2::a"), peer2 = addr("2001:db8:2::b");
    struct in6_addr peer3 = addr("2001:db8:3::b"), peer4 = addr("2001:db8:4::b");
    struct in6_addr stranger = addr("2001:db8:9::b");
    struct shim_feedback feedback = {SHIM_FEEDBACK_INBOUND, SHIM_FEEDBACK_UNSATISFACTORY, 7};
    struct shim_locator_info list[8];
    struct shim_status status;
    size_t count;
    int64_t rtt;
    int n = 7;

    EXPECT(SHIM_OK, shim_is_associated(h, fd, &n));
    CHECK(n == 1);
    EXPECT(SHIM_OK, shim_get_status(h, fd, &status, sizeof status));
    CHECK(status.associated == 1 && status.state == SHIM_STATE_ESTABLISHED);
    CHECK(status.reap_state == SHIM_REAP_OPERATIONAL && status.context == 7 && status.fii == 0);
    CHECK(same(&status.locator_local, &here) && same(&status.locator_peer, &there));
    CHECK(status.rtt_us == 20450 && status.age_ms == 60000 && status.last_in_ms == -1);
    CHECK(status.packets_out == 11 && status.octets_in == 14 && status.switches == 17);
    CHECK(status.local_locators == 2 && status.peer_locators == 4);
    /* A program with an older, shorter structure. */
    memset(&status, 0x55, sizeof status);
    EXPECT(SHIM_OK, shim_get_status(h, fd, &status, 8));
    CHECK(status.associated == 1 && status.reap_state == 0x55555555);

    count = 8;
    EXPECT(SHIM_OK, shim_get_locators(h, fd, SHIM_SIDE_LOCAL, list, sizeof *list, &count));
    CHECK(count == 2 && same(&list[1].addr, &local2) && list[1].priority == -1);
    CHECK((list[0].flags & (SHIM_FLAG_HBA | SHIM_FLAG_ULID | SHIM_FLAG_CURRENT)) == 0x0d);
    CHECK((list[1].flags & SHIM_FLAG_CGA) != 0);
    count = 0;
    EXPECT(SHIM_ERR_SIZE, shim_get_locators(h, fd, SHIM_SIDE_PEER, NULL, 0, &count));
    CHECK(count == 4);
    EXPECT(SHIM_ERR_NULL, shim_get_locators(h, fd, SHIM_SIDE_PEER, NULL, sizeof *list, &count));
    EXPECT(SHIM_ERR_SIZE, shim_get_locators(h, fd, SHIM_SIDE_PEER, list, 0, &count));
    EXPECT(SHIM_OK, shim_get_locators(h, fd, SHIM_SIDE_PEER, list, sizeof *list, &count));
    CHECK(count == 4 && same(&list[1].addr, &peer2) && list[1].priority == 1);
    CHECK(list[1].reachable == 1 && list[2].reachable == -1);

    EXPECT(SHIM_OK, shim_test_pair(h, fd, &local2, &peer2, &n, &rtt));
    CHECK(n == SHIM_REACHABLE && rtt == 20450);
    EXPECT(SHIM_OK, shim_test_pair(h, fd, &local2, &peer4, &n, &rtt));
    CHECK(n == SHIM_UNREACHABLE && rtt == -1);
    EXPECT(SHIM_OK, shim_test_pair(h, fd, &here, &peer2, &n, NULL));
    EXPECT(SHIM_ERR_INVALID_LOCATOR, shim_test_pair(h, fd, &local2, &stranger, &n, NULL));
    EXPECT(SHIM_ERR_INVALID_LOCATOR, shim_test_pair(h, fd, &stranger, &peer2, &n, NULL));
    EXPECT(SHIM_OK, shim_explore(h, fd));
    EXPECT(SHIM_OK, shim_give_feedback(h, fd, &feedback));
    feedback.fb_indicator = 4;
    EXPECT(SHIM_ERR_ARGUMENT, shim_give_feedback(h, fd, &feedback));
    feedback.fb_indicator = SHIM_FEEDBACK_SATISFACTORY, feedback.fb_direction = 2;
    EXPECT(SHIM_ERR_ARGUMENT, shim_give_feedback(h, fd, &feedback));

    EXPECT(SHIM_OK, shim_pin_pair(h, fd, NULL, NULL));
    EXPECT(SHIM_OK, shim_pin_pair(h, fd, &local2, &peer2));
    EXPECT(SHIM_ERR_INVALID_LOCATOR, shim_pin_pair(h, fd, &stranger, NULL));
    EXPECT(SHIM_ERR_INVALID_LOCATOR, shim_pin_pair(h, fd, NULL, &stranger));
    EXPECT(SHIM_ERR_UNVERIFIED_LOCATOR, shim_pin_pair(h, fd, NULL, &peer3));
    EXPECT(SHIM_ERR_UNREACHABLE_LOCATOR, shim_pin_pair(h, fd, NULL, &peer4));
    EXPECT(SHIM_OK, shim_switch_pair(h, fd, &local2, &peer2, SHIM_KEEP_NO));
    EXPECT(SHIM_OK, shim_switch_pair(h, fd, &local2, &peer2, SHIM_KEEP_PREFER));
    EXPECT(SHIM_OK, shim_switch_pair(h, fd, &local2, &peer2, SHIM_KEEP_PIN));
    EXPECT(SHIM_ERR_ARGUMENT, shim_switch_pair(h, fd, &local2, &peer2, 3));
    EXPECT(SHIM_ERR_UNREACHABLE_LOCATOR, shim_switch_pair(h, fd, &local2, &peer4, 0));
    EXPECT(SHIM_ERR_INVALID_LOCATOR, shim_switch_pair(h, fd, &local2, &stranger, 0));
    EXPECT(SHIM_OK, shim_fork_context(h, fd));
    EXPECT(SHIM_OK, shim_set_hot_standby(h, fd, 0));
    EXPECT(SHIM_OK, shim_set_hot_standby(h, fd, 1));
    EXPECT(SHIM_OK, shim_set_hot_standby(h, fd, 7));
    EXPECT(SHIM_OK, shim_set_send_timeout(h, fd, 0));
    EXPECT(SHIM_ERR_ARGUMENT, shim_set_send_timeout(h, fd, 1));
    EXPECT(SHIM_OK, shim_set_send_timeout(h, fd, 20));
    EXPECT(SHIM_ERR_ARGUMENT, shim_set_send_timeout(h, fd, 65536));
}

static void events(struct shim_handle *h, int fd) {
    struct in6_addr peer2 = addr("2001:db8:2::b");
    struct shim_event event;
    struct shim_events *events = (struct shim_events *)&event;
    struct pollfd wait;
    int listener = socket(AF_INET6, SOCK_STREAM, 0);

    EXPECT(SHIM_ERR_NOT_CONNECTED, shim_subscribe(h, listener, &events));
    CHECK(events == NULL);
    EXPECT(SHIM_OK, shim_subscribe(h, fd, &events));
    wait.fd = shim_events_fd(events);
    wait.events = POLLIN;
    CHECK(wait.fd >= 0 && poll(&wait, 1, 0) == 0);
    EXPECT(SHIM_ERR_TIMEOUT, shim_events_next(events, 0, &event, sizeof event));
    EXPECT(SHIM_ERR_ARGUMENT, shim_events_next(events, -1, &event, sizeof event));
    EXPECT(SHIM_ERR_NULL, shim_events_next(events, 0, NULL, sizeof event));
    EXPECT(SHIM_OK, shim_explore(h, fd));
    CHECK(poll(&wait, 1, 5000) == 1);
    EXPECT(SHIM_ERR_SIZE, shim_events_next(events, 0, &event, sizeof event + 1));
    EXPECT(SHIM_OK, shim_events_next(events, 5000, &event, sizeof event));
    CHECK(event.type == SHIM_EVENT_EXPLORING && event.context == 7);
    CHECK(same(&event.from_local, &here));
    EXPECT(SHIM_OK, shim_events_next(events, 5000, &event, sizeof event));
    CHECK(event.type == SHIM_EVENT_PATH_SWITCHED && event.value == 21);
    CHECK(same(&event.from_peer, &there) && same(&event.to_peer, &peer2));
    EXPECT(SHIM_OK, shim_events_next(events, 5000, &event, sizeof event));
    CHECK(event.type == SHIM_EVENT_RECOVERED && event.value == 22);
    if (fork() == 0)
        _exit(shim_events_next(events, 0, &event, sizeof event) == SHIM_ERR_FORKED ? 0 : 1);
    int status = 1;
    wait.fd = -1;
    CHECK(waitpid(-1, &status, 0) > 0 && status == 0);
    shim_events_close(events);
    close(listener);
}

/* A daemon that keeps silent, denies, fails. */
static void bad_daemon(struct shim_handle *h) {
    int silent = connected(SILENT), denied = connected(DENIED), faulty = connected(FAULTY);
    int64_t began = now_ms();
    EXPECT(SHIM_OK, shim_set_timeout(h, 150));
    EXPECT(SHIM_ERR_TIMEOUT, shim_set(h, silent));
    CHECK(now_ms() - began >= 149 && now_ms() - began < 2000);
    EXPECT(SHIM_OK, shim_set_timeout(h, 0));
    EXPECT(SHIM_ERR_ARGUMENT, shim_set_timeout(h, -1));
    EXPECT(SHIM_ERR_PERMISSION, shim_explore(h, denied));
    CHECK(strstr(shim_last_error(), "other users") != NULL);
    EXPECT(SHIM_ERR_DAEMON, shim_explore(h, faulty));
    close(silent), close(denied), close(faulty);
}

static void peers(struct shim_handle *h, int fd) {
    struct shim_status page[2];
    size_t count = 2, seen = 0;
    uint64_t after = 0;
    struct shim_locator_info list[2];
    int support = -1, policy = -1;

    EXPECT(SHIM_OK, shim_check_peer(h, fd, NULL, 3000, &support));
    CHECK(support == SHIM_SUPPORT_YES);
    EXPECT(SHIM_ERR_ARGUMENT, shim_check_peer(h, fd, &there, 3000, &support));
    EXPECT(SHIM_ERR_ARGUMENT, shim_check_peer(h, -1, NULL, 3000, &support));
    EXPECT(SHIM_ERR_ARGUMENT, shim_check_peer(h, fd, NULL, 0, &support));
    EXPECT(SHIM_ERR_ARGUMENT, shim_check_peer(h, fd, NULL, 60001, &support));
    if (geteuid() != 0) {
        EXPECT(SHIM_ERR_PERMISSION, shim_check_peer(h, -1, &there, 3000, &support));
        EXPECT(SHIM_ERR_PERMISSION, shim_list_contexts(h, &after, page, sizeof *page, &count));
        EXPECT(SHIM_ERR_PERMISSION, shim_list_locators(h, list, sizeof *list, &count));
        EXPECT(SHIM_ERR_PERMISSION, shim_get_policy(h, &there, &policy));
        return;
    }
    EXPECT(SHIM_OK, shim_check_peer(h, -1, &there, 3000, &support));
    CHECK(support == SHIM_SUPPORT_NO);
    for (;;) {
        count = 2;
        EXPECT(SHIM_OK, shim_list_contexts(h, &after, page, sizeof *page, &count));
        if (count == 0 || seen > 10)
            break;
        seen += count;
        CHECK(page[count - 1].context == after && page[0].state == SHIM_STATE_ESTABLISHED);
    }
    CHECK(seen == 5);
    EXPECT(SHIM_ERR_ARGUMENT, shim_list_contexts(h, &after, page, sizeof *page, &count));
    count = 0;
    EXPECT(SHIM_ERR_SIZE, shim_list_locators(h, NULL, sizeof *list, &count));
    CHECK(count == 2);
    EXPECT(SHIM_ERR_NULL, shim_list_locators(h, NULL, sizeof *list, &count));
    EXPECT(SHIM_ERR_SIZE, shim_list_locators(h, list, sizeof *list + 1, &count));
    EXPECT(SHIM_OK, shim_list_locators(h, list, sizeof *list, &count));
    CHECK(list[0].flags == (SHIM_FLAG_HBA | SHIM_FLAG_VERIFIED) && list[0].reachable == 1);
    CHECK(list[0].priority == 2 && list[0].weight == 7);
    CHECK(list[1].flags == SHIM_FLAG_BROKEN && list[1].reachable == 0);
    CHECK(list[1].priority == -1 && list[1].weight == -1);
    EXPECT(SHIM_OK, shim_get_policy(h, &there, &policy));
    CHECK(policy == SHIM_POLICY_NEVER);
    EXPECT(SHIM_OK, shim_get_policy(h, &in6addr_any, &policy));
    CHECK(policy == SHIM_POLICY_IMMEDIATE);
    EXPECT(SHIM_OK, shim_get_policy(h, &in6addr_loopback, &policy));
    CHECK(policy == SHIM_POLICY_SHIM);
}

int main(int argc, char **argv) {
    struct shim_handle *h = NULL;
    int fd;

    begin(argc, argv);
    EXPECT(SHIM_ERR_NO_DAEMON, shim_open("/nonexistent/control.sock", 500, &h));
    CHECK(h == NULL && strstr(shim_last_error(), "/nonexistent/") != NULL);
    EXPECT(SHIM_ERR_ARGUMENT, shim_open(NULL, -1, &h));
    EXPECT(SHIM_OK, shim_open(NULL, 0, &h));
    CHECK(strcmp(shim_version(), "") != 0);
    fd = connected(9);
    nulls(h, fd);
    descriptors(h);
    without_context(h, fd);
    EXPECT(SHIM_OK, shim_set(h, fd));
    with_context(h, fd);
    events(h, fd);
    bad_daemon(h);
    peers(h, fd);
    close(fd);
    shim_close(h);
    return finish();
}
