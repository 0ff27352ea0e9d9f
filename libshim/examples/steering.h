/* What the examples share that steer the shim beside a running transfer. */
#ifndef STEERING_H
#define STEERING_H

#include "example.h"
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>

static atomic_int ending;

struct transfer {
    int fd;
    atomic_ullong sent;
    pthread_t thread;
};

static inline int64_t now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* Ends the program unless a call has succeeded. */
static inline void need(const char *what, shim_result result) {
    if (result == SHIM_OK)
        return;
    printf("failed %s: %s: %s\n", what, shim_strerror(result), shim_last_error());
    exit(1);
}

/* About a megabyte in a second, as the transfer that must not notice anything. */
static inline void *run_transfer(void *arg) {
    static const struct timespec pause = {0, 10000000};
    static char data[10000];
    struct transfer *t = arg;
    while (!atomic_load(&ending)) {
        ssize_t n = write(t->fd, data, sizeof data);
        if (n < 0)
            die("write");
        atomic_fetch_add(&t->sent, (unsigned long long)n);
        nanosleep(&pause, NULL);
    }
    return NULL;
}

static inline void begin_transfer(struct transfer *t) {
    if (pthread_create(&t->thread, NULL, run_transfer, t) != 0)
        die("thread");
}

/* Waits for an event of one type, ten seconds at most. */
static inline struct shim_event await_event(struct shim_events *events, int32_t type) {
    struct shim_event event;
    do
        need("event", shim_events_next(events, 10000, &event, sizeof event));
    while (event.type != type);
    return event;
}

/* A locator of one side that is not in use. */
static inline struct in6_addr other_locator(struct shim_handle *shim, int fd, int side) {
    struct shim_locator_info list[SHIM_MAX_LOCATORS];
    size_t i, count = SHIM_MAX_LOCATORS;
    need("locators", shim_get_locators(shim, fd, side, list, sizeof *list, &count));
    for (i = 0; i < count; i++)
        if ((list[i].flags & SHIM_FLAG_CURRENT) == 0)
            return list[i].addr;
    printf("failed there is no other locator\n");
    exit(1);
}

#endif
