//! Error messages, out and in (RFC 5533, 5.14, 12.3, 12.4).

use super::dispatch::Envelope;
use super::update::Wanted;
use super::{Context, Engine};
use crate::addr::{ContextTag, Locator, LocatorPair, RequestNonce};
use crate::proto::{ContextId, Cx, Time};
use crate::wire::control::{ErrorCode, ErrorMessage, Message};
use std::net::Ipv6Addr;

/// How often one update is corrected because of Errors.
const MAX_CORRECTIONS: u32 = 2;

/// What can be read of a control message of ours that an Error or ICMPv6 error quotes. The quote may be cut, so there
/// is no checksum to check.
pub(super) struct Quote {
    /// The pair it was sent on.
    pub pair: LocatorPair,
    /// Message type.
    pub kind: u8,
    /// The tag at octets 6 to 11.
    pub tag: ContextTag,
    /// The nonce at octets 12 to 15.
    pub nonce: u32,
}

impl Quote {
    /// Reads the beginning of a Shim6 control message.
    pub fn of_message(pair: LocatorPair, m: &[u8]) -> Option<Quote> {
        let kind = *m.get(2)?;
        if kind & 0x80 != 0 {
            return None;
        }
        let mut tag = [0; 8];
        tag[2..].copy_from_slice(m.get(6..12)?);
        let nonce = u32::from_be_bytes(m.get(12..16)?.try_into().ok()?);
        Some(Quote { pair, kind, tag: ContextTag::from_masked(u64::from_be_bytes(tag)), nonce })
    }

    /// Reads the beginning of an IPv6 packet as we send them: nothing between the IPv6 header and the message.
    fn of_packet(p: &[u8]) -> Option<Quote> {
        if p.first()? >> 4 != 6 || *p.get(6)? != crate::wire::IPPROTO_SHIM6 {
            return None;
        }
        let addr = |range| -> Option<Locator> {
            let octets: [u8; 16] = p.get::<std::ops::Range<usize>>(range)?.try_into().ok()?;
            Some(Locator(Ipv6Addr::from(octets)))
        };
        let pair = LocatorPair { local: addr(8..24)?, peer: addr(24..40)? };
        Quote::of_message(pair, p.get(40..)?)
    }
}

impl Engine {
    /// Sends an Error about a message, to where it came from; limited in all. `offset` counts from the Shim6 header.
    // req: S6-5.14-02, S6-5.14-05, S6-5.14-06, S6-5.15-08, S6-12.3-04, S6-12.3-06, S6-7.2-06
    pub(super) fn send_error(
        &mut self,
        cx: &mut Cx<'_>,
        env: &Envelope<'_>,
        code: ErrorCode,
        offset: usize,
    ) {
        if !self.rates.error(cx.now, &self.config.limits) {
            return self.count(cx, "error_rate");
        }
        let error = ErrorMessage::about(&env.packet.packet, env.packet.offset, (code, offset));
        self.transmit(cx, env.pair, &Message::Error(error));
    }

    /// The context that a quoted message with CT(peer) belongs to.
    // req: S6-12.4-06
    fn quoted_context(&self, q: &Quote, now: Time) -> Option<ContextId> {
        self.table.find_peer_tag(q.tag).find(|id| {
            self.table
                .get(*id)
                .is_some_and(|c| c.peer_tag == Some(q.tag) && c.sent_tagged(q.pair, now))
        })
    }

    /// An Error message. Never answered; only one that quotes our outstanding Update Request has an effect.
    // req: S6-5.14-06, S6-12.4-06, S6-17-02
    pub(super) fn on_error(&mut self, cx: &mut Cx<'_>, env: &Envelope<'_>, m: &ErrorMessage) {
        let Some(quote) = Quote::of_packet(&m.quoted) else {
            return self.drop(cx, "error_quote");
        };
        if quote.pair != env.pair {
            return self.drop(cx, "error_unmatched");
        }
        self.count(
            cx,
            match m.code {
                ErrorCode::UnknownMessageType => "error_unknown_type",
                ErrorCode::CriticalOption => "error_critical_option",
                ErrorCode::VerificationFailed => "error_verification",
                ErrorCode::GenerationOutOfSync => "error_generation",
                ErrorCode::PreferencesCount => "error_preferences",
                ErrorCode::Unknown(_) => "error_other",
            },
        );
        if quote.kind != crate::wire::MessageType::UpdateRequest.value() {
            return;
        }
        let Some(id) = self.quoted_context(&quote, cx.now) else {
            return self.drop(cx, "error_unmatched");
        };
        let code = m.code;
        self.with(cx, id, |e, cx, c| e.on_update_error(cx, c, RequestNonce(quote.nonce), code));
    }

    /// The peer could not use our Update Request: what it complains of is put right, at most twice.
    fn on_update_error(
        &mut self,
        cx: &mut Cx<'_>,
        c: &mut Context,
        nonce: RequestNonce,
        code: ErrorCode,
    ) {
        let Some(u) = c.update.as_ref().filter(|u| u.nonce == nonce) else {
            return self.drop(cx, "error_unmatched");
        };
        let corrections = u.corrections + 1;
        let wanted = match code {
            _ if corrections > MAX_CORRECTIONS => None,
            ErrorCode::VerificationFailed if u.full() => None,
            ErrorCode::VerificationFailed => {
                Some(Wanted { list: true, full: true, preferences: true, keepalive_timeout: true })
            }
            ErrorCode::GenerationOutOfSync | ErrorCode::PreferencesCount => {
                Some(Wanted { list: true, full: true, preferences: true, keepalive_timeout: true })
            }
            // Of our options only these two are not from the beginning of the protocol.
            ErrorCode::CriticalOption => Some(Wanted {
                list: true,
                full: true,
                preferences: false,
                keepalive_timeout: false,
            }),
            ErrorCode::UnknownMessageType | ErrorCode::Unknown(_) => None,
        };
        c.update = None;
        match wanted {
            Some(wanted) => {
                self.want_update(cx, c, wanted);
                if let Some(u) = &mut c.update {
                    u.corrections = corrections;
                }
            }
            None => self.count(cx, "update_given_up"),
        }
    }

    /// An ICMPv6 error that quotes a control message of ours. Only "unrecognized next header" about an I1 that is out
    /// says something: the peer's kernel does not know Shim6.
    // req: S6-7.8-05, S6-7.8-07, S6-12.4-06
    pub(super) fn on_control_refused(
        &mut self,
        cx: &mut Cx<'_>,
        (icmp_type, icmp_code): (u8, u8),
        pair: LocatorPair,
        quoted: &[u8],
    ) {
        /// ICMPv6 Parameter Problem, unrecognized Next Header type.
        const UNRECOGNIZED_NEXT_HEADER: (u8, u8) = (4, 1);
        let quote = Quote::of_message(pair, quoted)
            .filter(|q| q.kind == crate::wire::MessageType::I1.value());
        let Some(quote) = quote else { return self.count(cx, "icmp_ignored") };
        let id = self.table.find_nonce(crate::addr::InitNonce(quote.nonce)).filter(|id| {
            (icmp_type, icmp_code) == UNRECOGNIZED_NEXT_HEADER
                && self.table.get(*id).is_some_and(|c| {
                    c.state() == super::State::I1Sent
                        && c.local_tag == quote.tag
                        && c.setup.as_ref().is_some_and(|s| s.sent.contains(&pair))
                })
        });
        match id {
            Some(id) => {
                self.with(cx, id, |e, cx, c| e.give_up(cx, c, super::State::NoSupport));
            }
            None => self.count(cx, "icmp_ignored"),
        }
    }
}
