/*
 * A bad provider: carries every frame between two network interfaces, some later, twice, in another order or not at
 * all. For kernels without netem.
 *
 *   impair NEAR FAR SETTINGS     both interfaces up, of Ethernet, in the present network namespace
 *
 * SETTINGS is a file of words, read at the start and on every SIGHUP:
 *
 *   delay=10ms      each way, added to every frame (default 0)
 *   jitter=5ms      up to so much more or less than delay, evenly spread; frames stay in order
 *   loss=10%        this share is dropped at random
 *   reorder=2%      this share is held `hold` longer than its time, while those behind it go on
 *   hold=10ms       see reorder
 *   duplicate=1%    this share is sent twice
 *   rate=20mbit     serialisation at so many bits a second (kbit, mbit or gbit), frames one after the other
 *   queue=1000      at most so many frames are held each way (1 to 10000); more are dropped at the tail
 *   seed=1          of the random numbers, each way its own
 *
 * A word "out.loss=5%" concerns only frames that come in at NEAR, "in.loss=5%" only those that come in at FAR; one
 * without either both. A word that is wrong leaves all as it was (at the start: exit status 2).
 *
 * Standard output: "ready", then "settings N" after each SIGHUP ("refused N: WORD" if it was wrong), "counts JSON" on
 * SIGUSR1. SIGTERM and SIGINT end it: "counts JSON", exit status 0. What it held is dropped; it leaves nothing behind.
 *
 * Frames go through packet sockets with the virtio header, so that checksums which the sender's kernel left open stay
 * open, as on the link itself. The kernel's own stack has to keep out: disable_ipv6 on both interfaces.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <linux/virtio_net.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MOST_HELD = 10000, LONGEST = sizeof(struct virtio_net_hdr) + 14 + 65575, BURST = 64 };

struct settings {
    uint64_t delay, jitter, hold;        /* nanoseconds */
    double loss, reorder, duplicate;     /* 0 to 1 */
    double rate;                         /* bits a second, 0: unlimited */
    unsigned queue;
    uint64_t seed;
};

struct frame {
    uint64_t due, order;                 /* nanoseconds of CLOCK_MONOTONIC; of equal ones the older goes first */
    uint32_t size;
    unsigned char octets[];
};

struct counts {
    uint64_t received, sent, lost, overflowed, duplicated, reordered, refused, late, latest;
};

/* One direction: a heap of held frames, ordered by the time at which they leave. */
struct way {
    int from, to;
    struct settings set;
    struct frame *held[MOST_HELD];
    unsigned count;
    uint64_t order, link_free, last_due, random;
    struct counts n;
};

static struct way ways[2];
static const char *const way_name[2] = { "out", "in" };

static uint64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* 0 ≤ value < 1 (splitmix64). */
static double chance(struct way *w)
{
    uint64_t z = w->random += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (double)((z ^ (z >> 31)) >> 11) / 9007199254740992.0;
}

static int earlier(const struct frame *a, const struct frame *b)
{
    return a->due < b->due || (a->due == b->due && a->order < b->order);
}

static void push(struct way *w, struct frame *f)
{
    unsigned i = w->count++;
    f->order = w->order++;
    for (; i > 0 && earlier(f, w->held[(i - 1) / 2]); i = (i - 1) / 2)
        w->held[i] = w->held[(i - 1) / 2];
    w->held[i] = f;
}

static struct frame *pop(struct way *w)
{
    struct frame *first = w->held[0], *last = w->held[--w->count];
    unsigned i = 0, child;
    while ((child = 2 * i + 1) < w->count) {
        if (child + 1 < w->count && earlier(w->held[child + 1], w->held[child]))
            child++;
        if (earlier(last, w->held[child]))
            break;
        w->held[i] = w->held[child];
        i = child;
    }
    w->held[i] = last;
    return first;
}

static void hold(struct way *w, const unsigned char *octets, size_t size, uint64_t due)
{
    struct frame *f = w->count < w->set.queue ? malloc(sizeof *f + size) : NULL;
    if (!f) {
        w->n.overflowed++;
        return;
    }
    f->due = due;
    f->size = (uint32_t)size;
    memcpy(f->octets, octets, size);
    push(w, f);
}

/* Decides what becomes of a frame that has just come in. */
static void take(struct way *w, const unsigned char *octets, size_t size)
{
    const struct settings *s = &w->set;
    uint64_t clock = now(), due;
    w->n.received++;
    if (chance(w) < s->loss) {
        w->n.lost++;
        return;
    }
    if (w->count >= s->queue) {
        w->n.overflowed++;
        return;
    }
    due = clock;
    if (s->rate > 0) {
        if (w->link_free < clock)
            w->link_free = clock;
        w->link_free += (uint64_t)((double)(size - sizeof(struct virtio_net_hdr)) * 8e9 / s->rate);
        due = w->link_free;
    }
    due += s->delay;
    if (s->jitter) {
        uint64_t spread = (uint64_t)(2 * chance(w) * (double)s->jitter);
        due = due + spread > s->jitter ? due + spread - s->jitter : 0;
    }
    if (s->reorder > 0 && chance(w) < s->reorder) {
        w->n.reordered++;
        due += s->hold;
    } else {
        if (due < w->last_due)
            due = w->last_due;
        w->last_due = due;
    }
    if (due < clock)
        due = clock;
    hold(w, octets, size, due);
    if (s->duplicate > 0 && chance(w) < s->duplicate) {
        w->n.duplicated++;
        hold(w, octets, size, due);
    }
}

/* Sends what is due; the time until the next one is, in nanoseconds, or -1. */
static int64_t release(struct way *w)
{
    while (w->count) {
        uint64_t clock = now();
        struct frame *f = w->held[0];
        if (f->due > clock)
            return (int64_t)(f->due - clock);
        f = pop(w);
        if (send(w->to, f->octets, f->size, MSG_DONTWAIT) < 0)
            w->n.refused++;      /* the interface is down or its queue is full: lost, as on a real link */
        else
            w->n.sent++;
        if (clock - f->due > w->n.latest)
            w->n.latest = clock - f->due;
        w->n.late += clock - f->due > 1000000u;
        free(f);
    }
    return -1;
}

static void receive(struct way *w)
{
    static unsigned char buffer[LONGEST];
    for (int i = 0; i < BURST; i++) {
        ssize_t size = recv(w->from, buffer, sizeof buffer, MSG_DONTWAIT | MSG_TRUNC);
        if (size < 0)
            return;              /* nothing more, or the interface went down: it comes back */
        if ((size_t)size > sizeof buffer || (size_t)size <= sizeof(struct virtio_net_hdr))
            w->n.refused++;
        else
            take(w, buffer, (size_t)size);
    }
}

static int number(const char *text, double *value, const char **unit)
{
    char *end;
    *value = strtod(text, &end);
    *unit = end;
    return end != text && *value >= 0 && *value < 1e12;
}

static int duration(const char *text, uint64_t *to)
{
    double value, factor;
    const char *unit;
    if (!number(text, &value, &unit))
        return 0;
    if (!strcmp(unit, "us")) factor = 1e3;
    else if (!strcmp(unit, "ms")) factor = 1e6;
    else if (!strcmp(unit, "s")) factor = 1e9;
    else if (!*unit && value == 0) factor = 0;
    else return 0;
    if (value * factor > 60e9)
        return 0;
    *to = (uint64_t)(value * factor);
    return 1;
}

static int share(const char *text, double *to)
{
    double value;
    const char *unit;
    if (!number(text, &value, &unit) || strcmp(unit, "%") || value > 100)
        return 0;
    *to = value / 100;
    return 1;
}

static int bits(const char *text, double *to)
{
    double value;
    const char *unit;
    if (!number(text, &value, &unit))
        return 0;
    if (!strcmp(unit, "kbit")) value *= 1e3;
    else if (!strcmp(unit, "mbit")) value *= 1e6;
    else if (!strcmp(unit, "gbit")) value *= 1e9;
    else if (*unit || value != 0) return 0;
    *to = value;
    return 1;
}

static int whole(const char *text, double least, double most, double *to)
{
    const char *unit;
    return number(text, to, &unit) && !*unit && *to >= least && *to <= most && *to == (double)(uint64_t)*to;
}

static int set_one(struct settings *s, const char *key, const char *value)
{
    double n;
    if (!strcmp(key, "delay")) return duration(value, &s->delay);
    if (!strcmp(key, "jitter")) return duration(value, &s->jitter);
    if (!strcmp(key, "hold")) return duration(value, &s->hold);
    if (!strcmp(key, "loss")) return share(value, &s->loss);
    if (!strcmp(key, "reorder")) return share(value, &s->reorder);
    if (!strcmp(key, "duplicate")) return share(value, &s->duplicate);
    if (!strcmp(key, "rate")) return bits(value, &s->rate);
    if (!strcmp(key, "queue")) return whole(value, 1, MOST_HELD, &n) && (s->queue = (unsigned)n, 1);
    if (!strcmp(key, "seed")) return whole(value, 0, 1e11, &n) && (s->seed = (uint64_t)n, 1);
    return 0;
}

/* Reads the file; 0 and nothing changed if a word is wrong, which is then in `bad`. */
static int configure(const char *path, char bad[static 80])
{
    struct settings fresh[2];
    char word[80];
    FILE *file = fopen(path, "re");
    if (!file) {
        snprintf(bad, 80, "%s", strerror(errno));
        return 0;
    }
    for (int i = 0; i < 2; i++)
        fresh[i] = (struct settings){ .hold = 10000000, .queue = 1000, .seed = 1 };
    while (fscanf(file, "%79s", word) == 1) {
        char key[80], *equals;
        int only = -1;
        strcpy(bad, word);
        equals = strchr(word, '=');
        if (!equals)
            goto wrong;
        *equals = 0;
        for (int i = 0; i < 2; i++) {
            size_t length = strlen(way_name[i]);
            if (!strncmp(word, way_name[i], length) && word[length] == '.')
                only = i;
        }
        strcpy(key, only < 0 ? word : word + strlen(way_name[only]) + 1);
        for (int i = 0; i < 2; i++)
            if ((only < 0 || only == i) && !set_one(&fresh[i], key, equals + 1))
                goto wrong;
    }
    fclose(file);
    for (int i = 0; i < 2; i++) {
        if (fresh[i].seed != ways[i].set.seed || !ways[i].random)
            ways[i].random = fresh[i].seed * 2 + (uint64_t)i + 1;
        ways[i].set = fresh[i];
        ways[i].last_due = ways[i].link_free = 0;
    }
    return 1;
wrong:
    fclose(file);
    return 0;
}

static void print_counts(void)
{
    printf("counts {");
    for (int i = 0; i < 2; i++) {
        const struct counts *n = &ways[i].n;
        printf("%s\"%s\": {\"received\": %llu, \"sent\": %llu, \"held\": %u, \"lost\": %llu, \"overflowed\": %llu, "
               "\"duplicated\": %llu, \"reordered\": %llu, \"refused\": %llu, \"late_by_1ms\": %llu, "
               "\"latest_ms\": %.3f}",
               i ? ", " : "", way_name[i], (unsigned long long)n->received, (unsigned long long)n->sent,
               ways[i].count, (unsigned long long)n->lost, (unsigned long long)n->overflowed,
               (unsigned long long)n->duplicated, (unsigned long long)n->reordered,
               (unsigned long long)n->refused, (unsigned long long)n->late, (double)n->latest / 1e6);
    }
    printf("}\n");
}

static int open_socket(const char *name)
{
    int one = 1, space = 8 << 20, fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
    struct sockaddr_ll address = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL) };
    struct packet_mreq all = { .mr_type = PACKET_MR_PROMISC };
    address.sll_ifindex = all.mr_ifindex = (int)if_nametoindex(name);
    if (fd < 0 || !all.mr_ifindex ||
        setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &one, sizeof one) ||
        setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &one, sizeof one) ||
        setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &space, sizeof space) ||
        setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &space, sizeof space) ||
        setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &all, sizeof all) ||
        bind(fd, (struct sockaddr *)&address, sizeof address)) {
        fprintf(stderr, "impair: %s: %s\n", name, strerror(errno));
        exit(1);
    }
    return fd;
}

int main(int argc, char **argv)
{
    char bad[80];
    unsigned changes = 0;
    sigset_t wanted;
    if (argc != 4) {
        fprintf(stderr, "usage: impair NEAR FAR SETTINGS\n");
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    sigemptyset(&wanted);
    sigaddset(&wanted, SIGHUP);
    sigaddset(&wanted, SIGUSR1);
    sigaddset(&wanted, SIGTERM);
    sigaddset(&wanted, SIGINT);
    sigprocmask(SIG_BLOCK, &wanted, NULL);
    if (!configure(argv[3], bad)) {
        fprintf(stderr, "impair: %s: wrong: %s\n", argv[3], bad);
        return 2;
    }
    ways[0].from = ways[1].to = open_socket(argv[1]);
    ways[1].from = ways[0].to = open_socket(argv[2]);
    prctl(PR_SET_TIMERSLACK, 1UL, 0, 0, 0);
    /* A late wake-up would be a longer delay; without the right to this one it is only less exact. */
    setpriority(PRIO_PROCESS, 0, -15);
    struct pollfd events[3] = {
        { .fd = ways[0].from, .events = POLLIN },
        { .fd = ways[1].from, .events = POLLIN },
        { .fd = signalfd(-1, &wanted, SFD_NONBLOCK | SFD_CLOEXEC), .events = POLLIN },
    };
    printf("ready\n");
    for (;;) {
        int64_t wait = -1;
        struct timespec left;
        struct signalfd_siginfo signal;
        for (int i = 0; i < 2; i++) {
            int64_t next = release(&ways[i]);
            if (next >= 0 && (wait < 0 || next < wait))
                wait = next;
        }
        left = (struct timespec){ .tv_sec = wait / 1000000000, .tv_nsec = wait % 1000000000 };
        if (ppoll(events, 3, wait < 0 ? NULL : &left, NULL) < 0 && errno != EINTR) {
            perror("impair: ppoll");
            return 1;
        }
        for (int i = 0; i < 2; i++)
            if (events[i].revents)
                receive(&ways[i]);
        while (read(events[2].fd, &signal, sizeof signal) == sizeof signal) {
            if (signal.ssi_signo == SIGUSR1) {
                print_counts();
            } else if (signal.ssi_signo == SIGHUP) {
                changes++;
                if (configure(argv[3], bad))
                    printf("settings %u\n", changes);
                else
                    printf("refused %u: %s\n", changes, bad);
            } else {
                print_counts();
                return 0;
            }
        }
    }
}
