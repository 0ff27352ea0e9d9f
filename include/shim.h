/* libshim: what an application can ask of Shim6 for its own sockets. See docs/libshim.md and shim(3).
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#ifndef SHIM_H
#define SHIM_H

/* Made by cbindgen from libshim/src, not to be edited. */

#include <stddef.h>
#include <stdint.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/types.h>

/* RFC 6316 spells the structure both ways. */
#define shim6_pathexplore shim_pathexplore

/* From <sys/socket.h> with _GNU_SOURCE, and from <time.h>. */
struct mmsghdr;
struct timespec;

/**
 * shim_event.type: a context serves the socket from now on.
 */
#define SHIM_EVENT_ESTABLISHED 1

/**
 * The negotiation failed; value is SHIM_STATE_E_FAILED or SHIM_STATE_NO_SUPPORT.
 */
#define SHIM_EVENT_ESTABLISH_FAILED 2

/**
 * The context is gone. No events follow: subscribe again.
 */
#define SHIM_EVENT_DISCARDED 3

/**
 * Exploration begins; the pair "from" was in use.
 */
#define SHIM_EVENT_EXPLORING 4

/**
 * Packets go by the pair "to" instead of "from"; value is the milliseconds since exploration began.
 */
#define SHIM_EVENT_PATH_SWITCHED 5

/**
 * Both directions work again, by the pair "to"; value is the milliseconds of silence.
 */
#define SHIM_EVENT_RECOVERED 6

/**
 * All pairs were tried in vain; exploration goes on slowly. value is the milliseconds since it began.
 */
#define SHIM_EVENT_LOST 7

/**
 * A test of the pair "to" is over; value is its round trip in microseconds, or -1 if it does not work.
 */
#define SHIM_EVENT_PATH_TESTED 12

/**
 * A locator list changed; value is SHIM_SIDE_LOCAL or SHIM_SIDE_PEER.
 */
#define SHIM_EVENT_LOCATORS_CHANGED 8

/**
 * The state of the context changed; value is the new SHIM_STATE_….
 */
#define SHIM_EVENT_STATE_CHANGED 9

/**
 * The state of REAP changed; value is the new SHIM_REAP_….
 */
#define SHIM_EVENT_REAP_CHANGED 10

/**
 * This program did not read fast enough; value is the number of events lost.
 */
#define SHIM_EVENT_EVENTS_LOST 11

/**
 * An event of a newer daemon.
 */
#define SHIM_EVENT_OTHER 99

/**
 * Time limit of a call in milliseconds if the caller gives none.
 */
#define SHIM_DEFAULT_TIMEOUT_MS 5000

/**
 * shim_get_policy: a context is negotiated when traffic is worth it.
 */
#define SHIM_POLICY_SHIM 0

/**
 * shim_get_policy: a context is negotiated at the first packet.
 */
#define SHIM_POLICY_IMMEDIATE 1

/**
 * shim_get_policy: there is never a context, not even when the peer asks.
 */
#define SHIM_POLICY_NEVER 2

/**
 * shim_check_peer: the host's kernel refuses Shim6.
 */
#define SHIM_SUPPORT_NO 0

/**
 * shim_check_peer: the host knows Shim6, there is a context.
 */
#define SHIM_SUPPORT_YES 1

/**
 * shim_check_peer: it did not answer (in time).
 */
#define SHIM_SUPPORT_UNKNOWN 2

/**
 * SHIM_LOC_LOCAL_RECV is on.
 */
#define LOCAL 1

/**
 * SHIM_LOC_PEER_RECV is on.
 */
#define PEER 2

/**
 * How long an answer of the daemon is good for.
 */
#define PRECISION_US 100000

/**
 * Done.
 */
#define SHIM_OK 0

/**
 * A pointer was NULL that must not be.
 */
#define SHIM_ERR_NULL 1

/**
 * A value makes no sense here.
 */
#define SHIM_ERR_ARGUMENT 2

/**
 * The array or structure has no room for the answer; the count tells how much is needed.
 */
#define SHIM_ERR_SIZE 3

/**
 * The descriptor is negative or closed.
 */
#define SHIM_ERR_DESCRIPTOR 4

/**
 * No shim6d answers.
 */
#define SHIM_ERR_NO_DAEMON 20

/**
 * The time that the caller allowed is over. What was asked for may still happen.
 */
#define SHIM_ERR_TIMEOUT 21

/**
 * The daemon has closed the connection.
 */
#define SHIM_ERR_CLOSED 22

/**
 * The connection failed.
 */
#define SHIM_ERR_IO 23

/**
 * The daemon's answer was not understood.
 */
#define SHIM_ERR_PROTOCOL 24

/**
 * The daemon, or another thread in the same call, is busy: try again.
 */
#define SHIM_ERR_BUSY 25

/**
 * The object belongs to the parent process: make one of your own.
 */
#define SHIM_ERR_FORKED 26

/**
 * The socket is not connected.
 */
#define SHIM_ERR_NOT_CONNECTED 40

/**
 * The socket has no context.
 */
#define SHIM_ERR_NO_CONTEXT 41

/**
 * Not in the present state.
 */
#define SHIM_ERR_NOT_POSSIBLE 42

/**
 * This daemon cannot do that yet, for nobody.
 */
#define SHIM_ERR_NOT_SUPPORTED 43

/**
 * There is no such thing.
 */
#define SHIM_ERR_NOT_FOUND 44

/**
 * Not a locator of this context.
 */
#define SHIM_ERR_INVALID_LOCATOR 60

/**
 * A locator of the peer that was not shown to be reachable yet.
 */
#define SHIM_ERR_UNVERIFIED_LOCATOR 61

/**
 * A locator of the peer that does not answer.
 */
#define SHIM_ERR_UNREACHABLE_LOCATOR 62

/**
 * More than SHIM_MAX_LOCATORS.
 */
#define SHIM_ERR_TOO_MANY_LOCATORS 63

/**
 * Not yours to do.
 */
#define SHIM_ERR_PERMISSION 80

/**
 * A fault of this library.
 */
#define SHIM_ERR_INTERNAL 100

/**
 * A fault of the daemon; its log says more.
 */
#define SHIM_ERR_DAEMON 101

/**
 * The kernel refused.
 */
#define SHIM_ERR_KERNEL 102

/**
 * Level of the options below, for shim_setsockopt, shim_getsockopt and ancillary data.
 */
#define SOL_SHIM 21302

/**
 * int, get: 1 if a context serves the socket, 0 if none does; 2 with EOPNOTSUPP on an unconnected socket.
 */
#define SHIM_ASSOCIATED 1

/**
 * int, get and set before the socket is connected: 1 keeps the shim off the socket.
 */
#define SHIM_DONTSHIM 2

/**
 * int, get and set: 1 keeps an alternative pair tested.
 */
#define SHIM_HOT_STANDBY 3

/**
 * struct shim_locator, get and set: preference of a source locator; get yields the most preferred.
 */
#define SHIM_LOC_LOCAL_PREF 4

/**
 * struct shim_locator, get and set: the same for a destination locator.
 */
#define SHIM_LOC_PEER_PREF 5

/**
 * int, get and set: 1 stores the destination locator of received packets in ancillary data.
 */
#define SHIM_LOC_LOCAL_RECV 6

/**
 * int, get and set: 1 stores the source locator of received packets in ancillary data.
 */
#define SHIM_LOC_PEER_RECV 7

/**
 * struct shim_locator, get and set: the source locator to use; all zeros: any.
 */
#define SHIM_LOC_LOCAL_SEND 8

/**
 * struct shim_locator, get and set: the destination locator to use; all zeros: any.
 */
#define SHIM_LOC_PEER_SEND 9

/**
 * Array of struct shim_locator, get and set: Ls(local).
 */
#define SHIM_LOCLIST_LOCAL 10

/**
 * Array of struct shim_locator, get and set: Ls(peer).
 */
#define SHIM_LOCLIST_PEER 11

/**
 * int, get and set: Send Timeout in seconds; 0: the default.
 */
#define SHIM_APP_TIMEOUT 12

/**
 * struct shim_pathexplore, get and set.
 */
#define SHIM_PATHEXPLORE 13

/**
 * int, get: 1, as Shim6 negotiates beside the communication.
 */
#define SHIM_CONTEXT_DEFERRED_SETUP 14

/**
 * The RFC's other spelling of the same option.
 */
#define SHIM_DEFERRED_CONTEXT_SETUP SHIM_CONTEXT_DEFERRED_SETUP

/**
 * Ancillary data of sendmsg: struct shim_feedback.
 */
#define SHIM_FEEDBACK 15

/**
 * Most locators in a list.
 */
#define SHIM_MAX_LOCATORS 32

/**
 * errno: not a locator of the context.
 */
#define EINVALIDLOCATOR 21303

/**
 * errno: a locator of the peer that was not shown to be reachable yet.
 */
#define EUNVERIFIEDLOCATOR 21304

/**
 * errno: a locator of the peer that does not answer.
 */
#define EUNREACHABLELOCATOR 21305

/**
 * errno: more than SHIM_MAX_LOCATORS, or no room for all there are.
 */
#define ETOOMANYLOCATORS 21306

/**
 * lc_flags: the locator is a hash-based address.
 */
#define SHIM_LOCATOR_HBA 1

/**
 * lc_flags: the locator is signed with the key of a CGA.
 */
#define SHIM_LOCATOR_CGA 2

/**
 * fb_direction: to the peer.
 */
#define SHIM_FEEDBACK_OUTBOUND 0

/**
 * fb_direction: from the peer.
 */
#define SHIM_FEEDBACK_INBOUND 1

/**
 * fb_indicator: says nothing, is not processed.
 */
#define SHIM_FEEDBACK_NONE 0

/**
 * fb_indicator: unable to connect.
 */
#define SHIM_FEEDBACK_UNABLE 1

/**
 * fb_indicator: unsatisfactory.
 */
#define SHIM_FEEDBACK_UNSATISFACTORY 2

/**
 * fb_indicator: satisfactory.
 */
#define SHIM_FEEDBACK_SATISFACTORY 3

/**
 * shim_get_locators: Ls(local).
 */
#define SHIM_SIDE_LOCAL 0

/**
 * shim_get_locators: Ls(peer).
 */
#define SHIM_SIDE_PEER 1

/**
 * Outcome of shim_test_pair: the pair does not work.
 */
#define SHIM_UNREACHABLE 0

/**
 * Outcome of shim_test_pair: the pair works.
 */
#define SHIM_REACHABLE 1

/**
 * shim_switch_pair: until something speaks for another pair.
 */
#define SHIM_KEEP_NO 0

/**
 * shim_switch_pair: until the pair fails; exploration then takes it before others if it works again.
 */
#define SHIM_KEEP_PREFER 1

/**
 * shim_switch_pair: whenever the pair works; shim_pin_pair with NULL ends it.
 */
#define SHIM_KEEP_PIN 2

/**
 * States of a context (RFC 5533, 6.2); SHIM_STATE_NONE: the socket is not connected.
 */
#define SHIM_STATE_NONE -1

/**
 * IDLE: there is no context.
 */
#define SHIM_STATE_IDLE 0

/**
 * I1-SENT.
 */
#define SHIM_STATE_I1_SENT 1

/**
 * I2-SENT.
 */
#define SHIM_STATE_I2_SENT 2

/**
 * ESTABLISHED.
 */
#define SHIM_STATE_ESTABLISHED 3

/**
 * I2BIS-SENT: being recovered, still in use.
 */
#define SHIM_STATE_I2BIS_SENT 4

/**
 * E-FAILED: the peer did not answer lately.
 */
#define SHIM_STATE_E_FAILED 5

/**
 * NO-SUPPORT: the peer's host does not know Shim6.
 */
#define SHIM_STATE_NO_SUPPORT 6

/**
 * States of REAP (RFC 5534, 4.2); SHIM_REAP_NONE: nothing to watch.
 */
#define SHIM_REAP_NONE -1

/**
 * Operational.
 */
#define SHIM_REAP_OPERATIONAL 0

/**
 * Exploring.
 */
#define SHIM_REAP_EXPLORING 1

/**
 * InboundOk.
 */
#define SHIM_REAP_INBOUND_OK 2

/**
 * shim_locator_info.flags: a member of the HBA set.
 */
#define SHIM_FLAG_HBA 1

/**
 * Signed with the key of the CGA.
 */
#define SHIM_FLAG_CGA 2

/**
 * The ULID, too.
 */
#define SHIM_FLAG_ULID 4

/**
 * In use now.
 */
#define SHIM_FLAG_CURRENT 8

/**
 * Proven to belong to its host.
 */
#define SHIM_FLAG_VERIFIED 16

/**
 * Marked BROKEN, or out of order.
 */
#define SHIM_FLAG_BROKEN 32

/**
 * Marked TRANSIENT.
 */
#define SHIM_FLAG_TRANSIENT 64

/**
 * A subscription; opaque. From shim_subscribe, to shim_events_close.
 */
struct shim_events;

/**
 * A connection to the daemon; opaque. From shim_open, to shim_close.
 */
struct shim_handle;

/**
 * What every call returns: SHIM_OK or one of SHIM_ERR_…. Codes come in ranges: 1 to 19 what the caller passed,
 * 20 to 39 the way to the daemon, 40 to 59 the state of socket and context, 60 to 79 locators, 80 to 99 rights,
 * 100 and above faults. New codes are added inside their range.
 */
typedef int shim_result;

/**
 * Something that happened. Addresses that an event has not are all zeros.
 */
struct shim_event {
    /**
     * SHIM_EVENT_….
     */
    int32_t type;
    /**
     * 0.
     */
    int32_t reserved;
    /**
     * Counts all events of the daemon.
     */
    uint64_t seq;
    /**
     * When: milliseconds of CLOCK_BOOTTIME.
     */
    uint64_t at_ms;
    /**
     * The daemon's number of the context.
     */
    uint64_t context;
    /**
     * What the type says.
     */
    int64_t value;
    /**
     * Our locator before.
     */
    struct in6_addr from_local;
    /**
     * The peer's locator before.
     */
    struct in6_addr from_peer;
    /**
     * Our locator now.
     */
    struct in6_addr to_local;
    /**
     * The peer's locator now.
     */
    struct in6_addr to_peer;
};

/**
 * A socket and the context that serves it. Addresses that there are not are all zeros; times and round trips that are
 * not known are -1.
 */
struct shim_status {
    /**
     * 1 if a context serves the socket, else 0.
     */
    int32_t associated;
    /**
     * SHIM_STATE_….
     */
    int32_t state;
    /**
     * SHIM_REAP_….
     */
    int32_t reap_state;
    /**
     * 1 if packets carry the payload header, which they do on other locators than the ULIDs.
     */
    int32_t tagged;
    /**
     * The daemon's number of the context, 0 without one.
     */
    uint64_t context;
    /**
     * Forked instance, 0 for the default context.
     */
    uint32_t fii;
    /**
     * IP protocol of the socket: IPPROTO_TCP, IPPROTO_UDP; 0 in listings of contexts.
     */
    uint32_t protocol;
    /**
     * Ports of the socket, in host order.
     */
    uint16_t local_port;
    /**
     * See local_port.
     */
    uint16_t peer_port;
    /**
     * Send Timeout in force, in milliseconds.
     */
    uint32_t send_timeout_ms;
    /**
     * ULID(local): the address that the socket shows.
     */
    struct in6_addr ulid_local;
    /**
     * ULID(peer).
     */
    struct in6_addr ulid_peer;
    /**
     * Where packets really leave from.
     */
    struct in6_addr locator_local;
    /**
     * Where packets really go to.
     */
    struct in6_addr locator_peer;
    /**
     * Milliseconds since the context was made, and its tags with it.
     */
    int64_t age_ms;
    /**
     * Milliseconds since the last packet went out.
     */
    int64_t last_out_ms;
    /**
     * Milliseconds since the last packet came in.
     */
    int64_t last_in_ms;
    /**
     * Round trip of the last answered probe, in microseconds.
     */
    int64_t rtt_us;
    /**
     * Payload packets out.
     */
    uint64_t packets_out;
    /**
     * Payload packets in.
     */
    uint64_t packets_in;
    /**
     * Octets of those out, IPv6 header included.
     */
    uint64_t octets_out;
    /**
     * Octets of those in.
     */
    uint64_t octets_in;
    /**
     * Probes sent.
     */
    uint64_t probes_out;
    /**
     * Probes received.
     */
    uint64_t probes_in;
    /**
     * How often the pair in use changed.
     */
    uint64_t switches;
    /**
     * Locators in Ls(local).
     */
    uint32_t local_locators;
    /**
     * Locators in Ls(peer).
     */
    uint32_t peer_locators;
};

/**
 * One entry of Ls(local) or Ls(peer).
 */
struct shim_locator_info {
    /**
     * The address.
     */
    struct in6_addr addr;
    /**
     * SHIM_FLAG_….
     */
    uint32_t flags;
    /**
     * 1 if last seen to work, 0 if not, -1 if never tried.
     */
    int32_t reachable;
    /**
     * Priority, lowest first; -1 if no preferences were given.
     */
    int32_t priority;
    /**
     * Weight among those of equal priority; -1 if no preferences were given.
     */
    int32_t weight;
};

/**
 * How content an application is (RFC 6316, 8.3). 4 octets.
 */
struct shim_feedback {
    /**
     * SHIM_FEEDBACK_OUTBOUND or SHIM_FEEDBACK_INBOUND.
     */
    uint8_t fb_direction;
    /**
     * SHIM_FEEDBACK_NONE, _UNABLE, _UNSATISFACTORY or _SATISFACTORY.
     */
    uint8_t fb_indicator;
    /**
     * Ignored.
     */
    uint16_t fb_reserved;
};

/**
 * A locator (RFC 6316, 8.1). 32 octets.
 */
struct shim_locator {
    /**
     * AF_INET6.
     */
    uint8_t lc_family;
    /**
     * 0: Shim6 knows no locators behind NAT.
     */
    uint8_t lc_proto;
    /**
     * Port behind NAT: 0.
     */
    uint16_t lc_port;
    /**
     * Priority, lowest first.
     */
    uint16_t lc_prio;
    /**
     * Weight among those of equal priority.
     */
    uint16_t lc_weight;
    /**
     * Interface of a local locator, 0 if it has none; no effect on set.
     */
    uint32_t lc_ifidx;
    /**
     * The address, in network byte order.
     */
    struct in6_addr lc_addr;
    /**
     * SHIM_LOCATOR_HBA, SHIM_LOCATOR_CGA; no effect on set.
     */
    uint16_t lc_flags;
};

/**
 * Settings of failure detection and exploration (RFC 6316, 8.2). 12 octets.
 */
struct shim_pathexplore {
    /**
     * Number of Initial Probes.
     */
    uint16_t pe_probenum;
    /**
     * Keepalive Timeout in seconds: the same value as SHIM_APP_TIMEOUT.
     */
    uint16_t pe_keepaliveto;
    /**
     * Keepalive Interval in seconds, at most half of the timeout.
     */
    uint16_t pe_keepaliveint;
    /**
     * Initial Probe Timeout in milliseconds.
     */
    uint16_t pe_initprobeto;
    /**
     * 0.
     */
    uint32_t pe_reserved;
};

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * sendmsg(2) that knows ancillary data of level SOL_SHIM: SHIM_LOC_LOCAL_SEND and SHIM_LOC_PEER_SEND (struct sockaddr_in6)
 * name the locators of this one datagram, SHIM_FEEDBACK (struct shim_feedback) tells how content the program is. All
 * other ancillary data goes to the system's call. With locators it waits until they are in use and the
 * datagram has left, and may fail with EAGAIN if done more than some three times in a second: SHIM_LOC_…_SEND as socket
 * options are for more. Fails with
 * what the options fail with, and sends nothing then.
 */
ssize_t shim_sendmsg(int fd,
                     const struct msghdr *message,
                     int flags);

/**
 * recvmsg(2) that adds the locators of what was received for sockets with SHIM_LOC_LOCAL_RECV or SHIM_LOC_PEER_RECV:
 * ancillary data of that type and level SOL_SHIM with one struct sockaddr_in6, of port 0, behind the system's. Without a
 * context, or if the daemon does not answer at once, it is all zeros. MSG_CTRUNC says that there was no room. The locators
 * are those of the newest payload packet of the context when the daemon was asked, at most 100 ms ago (longer if a process
 * has more than ten such sockets busy).
 */
ssize_t shim_recvmsg(int fd,
                     struct msghdr *message,
                     int flags);

/**
 * sendmmsg(2) that knows ancillary data as shim_sendmsg does. If one of the messages has some, they are sent one by one.
 */
int shim_sendmmsg(int fd,
                  struct mmsghdr *messages,
                  unsigned int count,
                  int flags);

/**
 * recvmmsg(2) that adds locators to each message as shim_recvmsg does.
 */
int shim_recvmmsg(int fd,
                  struct mmsghdr *messages,
                  unsigned int count,
                  int flags,
                  struct timespec *timeout);

/**
 * Subscribes to the events of the socket's context, on a connection of their own. Without a context, they begin with that
 * of the next one between the same ULIDs. On success *events is to be given to shim_events_close; on failure it is
 * NULL. The socket may be closed meanwhile.
 */
shim_result shim_subscribe(struct shim_handle *handle,
                           int fd,
                           struct shim_events **events);

/**
 * The descriptor to wait on with poll(2): readable when shim_events_next has something to tell. It stays the library's:
 * not to be read, written or closed. -1 if events is NULL.
 */
int shim_events_fd(const struct shim_events *events);

/**
 * The next event; waits for it at most timeout_ms milliseconds (0: not at all), then SHIM_ERR_TIMEOUT. `size` is
 * sizeof(struct shim_event). SHIM_ERR_CLOSED when the daemon has ended; SHIM_ERR_BUSY while another thread waits.
 */
shim_result shim_events_next(struct shim_events *events,
                             int timeout_ms,
                             struct shim_event *event,
                             size_t size);

/**
 * Ends a subscription. No other thread may be using it. NULL is nothing to do.
 */
void shim_events_close(struct shim_events *events);

/**
 * Connects to the daemon at a path, or, with NULL, where SHIM6_SOCKET says (ignored in programs that run with more
 * power than their caller), else at /run/shim6/control.sock. Every later call takes at most timeout_ms milliseconds
 * (0: SHIM_DEFAULT_TIMEOUT_MS). On success *handle is to be given to shim_close; on failure it is set to NULL.
 */
shim_result shim_open(const char *path,
                      int timeout_ms,
                      struct shim_handle **handle);

/**
 * Gives a handle back. No other thread may be using it. NULL is nothing to do.
 */
void shim_close(struct shim_handle *handle);

/**
 * Changes the time limit of later calls, in milliseconds (0: SHIM_DEFAULT_TIMEOUT_MS).
 */
shim_result shim_set_timeout(struct shim_handle *handle, int timeout_ms);

/**
 * Lists the contexts of the host with numbers above *after, in order, as many as fit: *count says how many elements of
 * `size` octets (sizeof(struct shim_status)) the array has room for, and tells how many were filled in; *after moves to
 * the last of them. The end is reached when *count comes back as 0. Privileged callers only.
 */
shim_result shim_list_contexts(struct shim_handle *handle,
                               uint64_t *after,
                               struct shim_status *contexts,
                               size_t size,
                               size_t *count);

/**
 * Lists the host's own locators, whatever their context. Of SHIM_FLAG_…, SHIM_FLAG_VERIFIED says that the locator is
 * offered to peers, and SHIM_FLAG_BROKEN that it was marked so; reachable is 1 if its link and route are there, 0 if not;
 * priority and weight are those that an administrator gave. *count says how many elements of `size` octets fit in the
 * array, and tells how many there are; SHIM_ERR_SIZE if they do not fit. The array may be NULL if *count is 0. Privileged
 * callers only.
 */
shim_result shim_list_locators(struct shim_handle *handle,
                               struct shim_locator_info *locators,
                               size_t size,
                               size_t *count);

/**
 * Tells what the host's policy says about a peer: sets *policy to SHIM_POLICY_…. Privileged callers only.
 */
shim_result shim_get_policy(struct shim_handle *handle,
                            const struct in6_addr *peer,
                            int *policy);

/**
 * Finds out whether a host supports Shim6, by negotiating a context with it if there is none. The host is the one that
 * the socket fd is connected to; privileged callers may pass -1 as fd and name it by its address, which is NULL
 * otherwise. Waits at most wait_ms milliseconds (1 to 60000), whatever the time limit of the handle is, and sets
 * *support to SHIM_SUPPORT_….
 */
shim_result shim_check_peer(struct shim_handle *handle,
                            int fd,
                            const struct in6_addr *peer,
                            int wait_ms,
                            int *support);

/**
 * The version of this library, "0.1.0". Static: not to be freed.
 */
const char *shim_version(void);

/**
 * The text of a code, never NULL. Static: not to be freed.
 */
const char *shim_strerror(shim_result result);

/**
 * The errno value that goes with a code: 0 for SHIM_OK. RFC 6316's own values lie outside the system's.
 */
int shim_errno(shim_result result);

/**
 * What the last failed call of this thread has to say beyond its code, in English; "" if nothing. Never NULL. Valid
 * until the next call of this library in the same thread.
 */
const char *shim_last_error(void);

/**
 * Asks for multihoming support now, not when the heuristic of the host says so. Returns when the negotiation has
 * begun; an event, or shim_get_status, tells when there is a context.
 */
shim_result shim_set(struct shim_handle *handle,
                     int fd);

/**
 * Keeps the shim off the socket: its packets pass untouched and are no reason to negotiate. To be called before the
 * socket is connected, else SHIM_ERR_NOT_POSSIBLE.
 */
shim_result shim_unset(struct shim_handle *handle,
                       int fd);

/**
 * Sets *associated to 1 if a context serves the socket, else to 0.
 */
shim_result shim_is_associated(struct shim_handle *handle, int fd, int *associated);

/**
 * Fills in what is known about the socket and its context. `size` is sizeof(struct shim_status).
 */
shim_result shim_get_status(struct shim_handle *handle,
                            int fd,
                            struct shim_status *status,
                            size_t size);

/**
 * Lists the locators of one side (SHIM_SIDE_LOCAL, SHIM_SIDE_PEER). *count says how many elements of `size` octets fit
 * in the array, and tells how many there are; SHIM_ERR_SIZE if they do not fit. The array may be NULL if *count is 0.
 */
shim_result shim_get_locators(struct shim_handle *handle,
                              int fd,
                              int side,
                              struct shim_locator_info *locators,
                              size_t size,
                              size_t *count);

/**
 * Sends probes on one pair of locators of the socket's context, which changes nothing else. Waits for the outcome: with
 * default timers at most about three seconds, and no longer than the time limit of the handle. Sets *outcome to
 * SHIM_REACHABLE or SHIM_UNREACHABLE and, unless rtt_us is NULL, *rtt_us to the round trip in microseconds or -1.
 */
shim_result shim_test_pair(struct shim_handle *handle,
                           int fd,
                           const struct in6_addr *local,
                           const struct in6_addr *peer,
                           int *outcome,
                           int64_t *rtt_us);

/**
 * Makes REAP explore the pairs of the socket's context now. Returns when it has begun; events tell how it goes. A context
 * that serves sockets of other users, too, can be steered by root and the control group only: SHIM_ERR_PERMISSION.
 */
shim_result shim_explore(struct shim_handle *handle,
                         int fd);

/**
 * Gives the socket a context of its own, so that it can be steered without the other flows between the same hosts.
 * Returns when the negotiation has begun: an event, or shim_get_status, tells when it serves the socket; until then the
 * common context does. It ends with the socket.
 */
shim_result shim_fork_context(struct shim_handle *handle,
                              int fd);

/**
 * Sends by this pair of the socket's context from now on; `keep` is SHIM_KEEP_…. A pair that did not answer lately is
 * tested first, so the call waits as shim_test_pair does; SHIM_ERR_UNREACHABLE_LOCATOR if it does not answer, and nothing
 * has changed. The peer chooses its own pair. To be had as shim_explore is.
 */
shim_result shim_switch_pair(struct shim_handle *handle,
                             int fd,
                             const struct in6_addr *local,
                             const struct in6_addr *peer,
                             int keep);

/**
 * Has the socket use these locators whenever they work, as soon as they have answered a test. Either address may be
 * NULL: the daemon is free to choose that side (again). If other sockets use the context, too, the socket gets one of its
 * own.
 */
shim_result shim_pin_pair(struct shim_handle *handle,
                          int fd,
                          const struct in6_addr *local,
                          const struct in6_addr *peer);

/**
 * Keeps an alternative pair tested (on is not 0), or no longer.
 */
shim_result shim_set_hot_standby(struct shim_handle *handle, int fd, int on);

/**
 * Sets the time without any answer after which the path counts as failed: 2 to 65535 seconds, or 0 for the default.
 */
shim_result shim_set_send_timeout(struct shim_handle *handle,
                                  int fd,
                                  uint32_t seconds);

/**
 * Tells how content the application is with the path in use. Discontent makes the daemon test it.
 */
shim_result shim_give_feedback(struct shim_handle *handle,
                               int fd,
                               const struct shim_feedback *feedback);

/**
 * setsockopt(2) that knows SOL_SHIM: other levels go to the system's. Waits for the daemon at most
 * SHIM_DEFAULT_TIMEOUT_MS. Without a daemon: ENOPROTOOPT; what a daemon cannot do yet: ENOSYS.
 */
int shim_setsockopt(int fd, int level, int name, const void *value, socklen_t len);

/**
 * getsockopt(2) that knows SOL_SHIM: other levels go to the system's. *len says how much room there is, and tells how
 * much was used.
 */
int shim_getsockopt(int fd,
                    int level,
                    int name,
                    void *value,
                    socklen_t *len);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* SHIM_H */
