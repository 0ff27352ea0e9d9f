/* What one writes with libnetfilter_queue after its example: a packet, a verdict. For comparison in testbed/bench.
 *
 *   nfq_loop accept     QUEUE                  every packet stays as it is
 *   nfq_loop accept-gso QUEUE                  the same, with packets that the kernel has not cut yet
 *   nfq_loop tag        QUEUE LOCAL PEER ULID-LOCAL ULID-PEER
 *                                              the least that a tagging shim does: out, 8 octets of header go in and the
 *                                              addresses are exchanged; in, the same backwards
 *
 * Prints "ready" when the queue is bound. */
#include <arpa/inet.h>
#include <errno.h>
#include <libnetfilter_queue/libnetfilter_queue.h>
#include <linux/netfilter.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { PROTOCOL = 140, GROWTH = 8, HEADER = 40, LOCAL_OUT = 3 };

static int tagging;
static struct in6_addr local, peer, ulid_local, ulid_peer;

static uint32_t id_of(struct nfq_data *nfa, uint8_t *hook) {
    struct nfqnl_msg_packet_hdr *h = nfq_get_msg_packet_hdr(nfa);
    *hook = h ? h->hook : 0;
    return h ? ntohl(h->packet_id) : 0;
}

static int on_packet(struct nfq_q_handle *q, struct nfgenmsg *m, struct nfq_data *nfa, void *unused) {
    static unsigned char out[65536 + GROWTH];
    unsigned char *packet, hook;
    uint32_t id = id_of(nfa, &hook);
    int len = nfq_get_payload(nfa, &packet);
    (void)m, (void)unused;
    if (!tagging || len < HEADER) return nfq_set_verdict(q, id, NF_ACCEPT, 0, NULL);
    if (hook == LOCAL_OUT && !memcmp(packet + 24, &ulid_peer, 16)) {
        const unsigned char header[GROWTH] = {packet[6], 0, 0x80, 0, 0, 0x55, 0x33, 0};
        memcpy(out, packet, HEADER);
        memcpy(out + HEADER, header, GROWTH);
        memcpy(out + HEADER + GROWTH, packet + HEADER, len - HEADER);
        out[6] = PROTOCOL;
        memcpy(out + 8, &local, 16);
        memcpy(out + 24, &peer, 16);
        len += GROWTH;
    } else if (packet[6] == PROTOCOL && len >= HEADER + GROWTH) {
        memcpy(out, packet, HEADER);
        memcpy(out + HEADER, packet + HEADER + GROWTH, len - HEADER - GROWTH);
        out[6] = packet[HEADER];
        memcpy(out + 8, &ulid_peer, 16);
        memcpy(out + 24, &ulid_local, 16);
        len -= GROWTH;
    } else {
        return nfq_set_verdict(q, id, NF_ACCEPT, 0, NULL);
    }
    out[4] = (len - HEADER) >> 8;
    out[5] = (len - HEADER) & 0xff;
    return nfq_set_verdict(q, id, NF_ACCEPT, len, out);
}

static void fail(const char *what) {
    fprintf(stderr, "nfq_loop: %s: %s\n", what, strerror(errno));
    exit(2);
}

int main(int argc, char **argv) {
    static char buffer[65536 + 4096];
    int gso = argc == 3 && !strcmp(argv[1], "accept-gso");
    tagging = argc == 7 && !strcmp(argv[1], "tag");
    if (!gso && !tagging && !(argc == 3 && !strcmp(argv[1], "accept"))) {
        fprintf(stderr, "usage: nfq_loop accept|accept-gso QUEUE | tag QUEUE LOCAL PEER ULID-LOCAL ULID-PEER\n");
        return 2;
    }
    if (tagging &&
        (inet_pton(AF_INET6, argv[3], &local) != 1 || inet_pton(AF_INET6, argv[4], &peer) != 1 ||
         inet_pton(AF_INET6, argv[5], &ulid_local) != 1 || inet_pton(AF_INET6, argv[6], &ulid_peer) != 1)) {
        fprintf(stderr, "nfq_loop: an address is none\n");
        return 2;
    }
    struct nfq_handle *h = nfq_open();
    if (!h) fail("nfq_open");
    struct nfq_q_handle *q = nfq_create_queue(h, atoi(argv[2]), on_packet, NULL);
    if (!q) fail("nfq_create_queue");
    if (nfq_set_mode(q, NFQNL_COPY_PACKET, 0xffff) < 0) fail("nfq_set_mode");
    if (gso && nfq_set_queue_flags(q, NFQA_CFG_F_GSO, NFQA_CFG_F_GSO) < 0) fail("nfq_set_queue_flags");
    puts("ready");
    fflush(stdout);
    for (;;) {
        ssize_t n = recv(nfq_fd(h), buffer, sizeof buffer, 0);
        if (n >= 0) nfq_handle_packet(h, buffer, n);
        else if (errno != ENOBUFS && errno != EINTR) fail("recv");
    }
}
