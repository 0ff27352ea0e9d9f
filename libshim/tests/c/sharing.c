/* One handle and many users: threads, children, a daemon that is restarted, a thousand sockets. The test that starts this
 * program restarts the daemon between the lines "restart" and "go", and removes it between "remove" and "go". */
#include "check.h"
#include <sys/resource.h>

#define CALLS 50
#define SOCKETS 1000

static struct shim_handle *shared;
static int socket_fd;

static void *caller(void *unused) {
    long wrong = 0;
    int i, n;
    (void)unused;
    for (i = 0; i < CALLS; i++)
        if (shim_is_associated(shared, socket_fd, &n) != SHIM_OK || n != 1)
            wrong++;
    return (void *)wrong;
}

/* Children while other threads are in the middle of calls. */
static void children(void) {
    pthread_t other;
    int i, n, status;
    if (pthread_create(&other, NULL, caller, NULL) != 0)
        exit(2);
    for (i = 0; i < 10; i++) {
        pid_t child = fork();
        if (child == 0) {
            int good = shim_is_associated(shared, socket_fd, &n) == SHIM_OK && n == 1;
            good = good && shim_is_associated(shared, socket_fd, &n) == SHIM_OK;
            shim_close(shared);
            _exit(good ? 0 : 1);
        }
        status = 1;
        CHECK(waitpid(child, &status, 0) == child && status == 0);
        EXPECT(SHIM_OK, shim_is_associated(shared, socket_fd, &n));
    }
    pthread_join(other, NULL);
}

static void thousand(void) {
    struct rlimit limit;
    struct shim_status status;
    int i, fds[SOCKETS];
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    for (i = 0; i < SOCKETS; i++)
        fds[i] = connected(9);
    for (i = 0; i < SOCKETS; i++) {
        shim_result r = shim_get_status(shared, fds[i], &status, sizeof status);
        if (r != SHIM_OK || status.associated != 1) {
            EXPECT(SHIM_OK, r);
            break;
        }
    }
    for (i = 0; i < SOCKETS; i++)
        close(fds[i]);
}

int main(int argc, char **argv) {
    int n, silent;
    int64_t began;

    begin(argc, argv);
    EXPECT(SHIM_OK, shim_open(NULL, 10000, &shared));
    if (shared == NULL)
        return finish();
    socket_fd = connected(9);
    EXPECT(SHIM_OK, shim_set(shared, socket_fd));
    CHECK(in_threads(caller) == 0);
    children();
    thousand();
    /* A call repeats itself on a new connection. */
    wait_for_go("restart");
    EXPECT(SHIM_OK, shim_set(shared, socket_fd));
    EXPECT(SHIM_OK, shim_is_associated(shared, socket_fd, &n));
    CHECK(n == 1);
    /* Killed in the middle of a call. */
    silent = connected(SILENT);
    began = now_ms();
    printf("kill\n");
    fflush(stdout);
    n = shim_set(shared, silent);
    CHECK(n == SHIM_ERR_CLOSED || n == SHIM_ERR_NO_DAEMON || n == SHIM_ERR_DAEMON);
    CHECK(now_ms() - began < 9000);
    wait_for_go("killed");
    EXPECT(SHIM_ERR_NO_DAEMON, shim_is_associated(shared, socket_fd, &n));
    errno = 0;
    n = shim_setsockopt(socket_fd, SOL_SHIM, SHIM_DONTSHIM, &failures, sizeof failures);
    CHECK(n == -1 && errno == ENOPROTOOPT);
    close(silent), close(socket_fd);
    shim_close(shared);
    return finish();
}
