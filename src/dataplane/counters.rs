//! Named counters: one for every packet that the data plane drops, and for everything it sheds or works around.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[doc = $doc:literal])* $variant:ident => $name:literal,)*) => {
        /// What is counted. Names that begin with `drop_` count packets that went no further.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Counter {
            $($(#[doc = $doc])* $variant,)*
        }

        impl Counter {
            /// All counters, in the order of their numbers.
            pub const ALL: &'static [Counter] = &[$(Counter::$variant,)*];

            /// The name under which statistics show it.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Counter::$variant => $name,)*
                }
            }
        }
    };
}

counters! {
    /// Outbound packets seen.
    RxOut => "packets_out",
    /// Inbound plain packets seen.
    RxIn => "packets_in",
    /// Packets that were needed whole and came by their headers first; not counted as seen then.
    AskedWhole => "packets_asked_whole",
    /// Inbound packets of protocol 140 seen.
    RxShim6 => "packets_shim6",
    /// Outbound packets that got a payload header.
    Tagged => "tagged",
    /// Inbound packets whose payload header was taken off.
    Stripped => "stripped",
    /// Segments that went on in one piece with those before them.
    Coalesced => "coalesced",
    /// TCP packets that the kernel had not cut into segments; we did.
    Segmented => "tcp_segmented",
    /// TCP segments cut in two because the payload header did not fit.
    TcpCut => "tcp_cut",
    /// Packets fragmented because the payload header did not fit.
    Fragmented => "fragmented",
    /// Datagrams put together from tagged fragments.
    Reassembled => "reassembled",
    /// Packets sent through the raw socket.
    Injected => "injected",
    /// Packet Too Big messages made for local transports.
    PacketTooBigMade => "packet_too_big_made",
    /// ICMPv6 errors translated to ULIDs and delivered.
    IcmpTranslated => "icmp_translated",
    /// ICMPv6 errors consumed because an exploration already acts on them.
    IcmpConsumed => "icmp_consumed",
    /// ICMPv6 errors that quoted a control message of ours.
    IcmpControl => "icmp_control",
    /// Those of them that came too often for the engine to be told of each.
    IcmpControlShed => "icmp_control_shed",
    /// Control messages handed to the engine.
    Control => "control_messages",
    /// TCP segments kept so that they can be sent again on another pair.
    HeldKept => "held_kept",
    /// Held segments that the peer acknowledged.
    HeldAcked => "held_acked",
    /// Held segments and acknowledgements that had become too old to be sent again.
    HeldExpired => "held_expired",
    /// Held segments sent again.
    HeldResent => "held_resent",
    /// Segments not kept because a bound of the held copies was reached.
    HeldShed => "held_shed",
    /// Address pairs evicted from the heuristic's table.
    HeuristicEvicted => "heuristic_evicted",
    /// Flows forgotten because a bound of learned or left-alone flows was reached.
    FlowShed => "flow_shed",
    /// Packets of sockets that have left the shim.
    LeftAlone => "left_alone",
    /// Flows that could have passed without being queued, but for the bound on their number.
    PassingFull => "passing_full",
    /// Failures to read what the kernel counts of flows that pass without being queued.
    PassingError => "passing_error",
    /// Notices that did not fit in the channel.
    NoticeShed => "notice_shed",
    /// Packets left alone: not parseable as IPv6 with its extension headers.
    PassMalformed => "pass_malformed",
    /// Packets of a context left unmapped: Routing header with segments left, or Mobile IPv6.
    PassRouting => "pass_routing_header",
    /// Packets left alone because handling them failed internally.
    PassPanic => "pass_internal_error",
    /// Path MTU look-ups that failed for another reason than a missing route (1280 octets assumed).
    MtuUnknown => "mtu_unknown",
    /// Verdicts whose packet the kernel no longer had.
    VerdictGone => "verdict_gone",
    /// Errors while reading a queue.
    QueueError => "queue_error",
    /// Tag that no context has.
    DropUnknownTag => "drop_unknown_tag",
    /// Payload for a context that waits for R1 (the peer cannot know the tag yet).
    DropPayloadState => "drop_payload_state",
    /// Protocol 140 packet whose header is cut short or has a wrong length.
    DropShim6Length => "drop_shim6_length",
    /// Control message with a bad checksum.
    DropShim6Checksum => "drop_shim6_checksum",
    /// Protocol 140 packet that belongs to HIP (S is 1).
    DropHip => "drop_hip",
    /// Tagged packet with another Shim6 header inside.
    DropNested => "drop_nested_shim6",
    /// Protocol 140 packet to or from a multicast, unspecified, loopback or link-local address.
    DropShim6Address => "drop_shim6_address",
    /// Protocol 140 packet with a Routing header that has segments left.
    DropShim6Routing => "drop_shim6_routing_header",
    /// Packet on the queue of protocol 140 without a Shim6 header.
    DropNotShim6 => "drop_not_shim6",
    /// Control message that did not fit in the channel.
    DropControlShed => "drop_control_shed",
    /// Internal failure on the queue of protocol 140.
    DropPanic => "drop_internal_error",
    /// Fragment kept for reassembly (its content goes on with the whole datagram).
    HeldFragment => "fragment_kept",
    /// Fragment that is malformed.
    DropFragment => "drop_fragment_malformed",
    /// Datagram whose fragments overlap.
    DropFragmentOverlap => "drop_fragment_overlap",
    /// Fragment beyond the reassembly bounds.
    DropFragmentShed => "drop_fragment_shed",
    /// Datagram not complete after 60 seconds.
    DropFragmentTimeout => "drop_fragment_timeout",
    /// Reassembled datagram too large to be given back to the kernel.
    DropReassembledSize => "drop_reassembled_size",
    /// No route for the locators.
    DropNoRoute => "drop_no_route",
    /// Mapped packet that can neither be cut nor fragmented to fit, or that is too long to come whole out of a queue.
    DropTooBig => "drop_too_big",
    /// The raw socket refused the packet.
    DropSend => "drop_send",
    /// ICMPv6 error about a packet of ours, with a bad checksum or cut short.
    DropIcmp => "drop_icmp_malformed",
    /// Packet too long to come whole out of a queue (more than 65,531 octets), and thus not rewritable.
    DropTruncated => "drop_truncated",
}

/// The counters of one data plane, shared by its workers.
#[derive(Debug)]
pub struct Counters(Box<[AtomicU64]>);

impl Default for Counters {
    fn default() -> Self {
        Counters(Counter::ALL.iter().map(|_| AtomicU64::new(0)).collect())
    }
}

impl Counters {
    /// Counts one.
    pub fn count(&self, counter: Counter) {
        self.add(counter, 1);
    }

    /// Counts several.
    pub fn add(&self, counter: Counter, n: u64) {
        if let Some(cell) = self.0.get(counter as usize) {
            cell.fetch_add(n, Ordering::Relaxed);
        }
    }

    /// The present value.
    pub fn get(&self, counter: Counter) -> u64 {
        self.0.get(counter as usize).map_or(0, |c| c.load(Ordering::Relaxed))
    }

    /// Names and values.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        Counter::ALL.iter().map(|c| (c.name(), self.get(*c)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_are_distinct_and_numbers_dense() {
        let names: HashSet<_> = Counter::ALL.iter().map(|c| c.name()).collect();
        assert_eq!(names.len(), Counter::ALL.len());
        for (i, c) in Counter::ALL.iter().enumerate() {
            assert_eq!(*c as usize, i);
        }
        let counters = Counters::default();
        counters.count(Counter::DropTruncated);
        assert_eq!(counters.get(Counter::DropTruncated), 1);
        assert_eq!(counters.all().filter(|(_, n)| *n > 0).count(), 1);
    }
}
