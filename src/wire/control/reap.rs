//! The REAP messages Keepalive and Probe (RFC 5534, 5.1 and 5.2).
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +---------------+---------------+-+-------------+-------------+-+
//! |      59       |  Hdr Ext Len  |0|  Type = 66  |  Reserved1  |0|   Keepalive
//! +---------------+---------------+-+-------------+-------------+-+
//! |           Checksum            |R|                             |
//! +-------------------------------+-+                             |
//! |                     Receiver Context Tag                      |
//! +---------------------------------------------------------------+
//! |                           Reserved2                           |
//! +---------------------------------------------------------------+
//! |                            Options                            |
//!
//! +---------------+---------------+-+-------------+-------------+-+
//! |      59       |  Hdr Ext Len  |0|  Type = 67  |  Reserved   |0|   Probe
//! +---------------+---------------+-+-------------+-------------+-+
//! |           Checksum            |R|                             |
//! +-------------------------------+-+                             |
//! |                     Receiver Context Tag                      |
//! +-------+-------+---+-------------------------------------------+
//! |Precvd | Psent |Sta|                 Reserved2                 |
//! +-------+-------+---+-------------------------------------------+
//! |   Psent reports of Probes sent, 40 octets each, this first    |
//! +---------------------------------------------------------------+
//! |        Precvd reports of Probes received, 40 octets each      |
//! +---------------------------------------------------------------+
//! |                            Options                            |
//!
//! report:
//! +---------------------------------------------------------------+
//! |                  Source address (16 octets)                   |
//! +---------------------------------------------------------------+
//! |                Destination address (16 octets)                |
//! +---------------------------------------------------------------+
//! |                          Probe Nonce                          |
//! +---------------------------------------------------------------+
//! |                          Probe Data                           |
//! +---------------------------------------------------------------+
//! ```

use super::{MessageType, ParseError, require};
use crate::addr::{ContextTag, Locator, ProbeNonce};
use crate::wire::field;
use crate::wire::option::{Options, Rules};

const TAG: usize = 6;
const COUNTS: usize = 12;
const STATE: usize = 13;
const RULES: Rules = Rules { defined: &[], tolerate_preferences: false };

/// Shows the peer that its payload arrives while there is none to send back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// The tag that the receiver picked for the context.
    pub receiver_tag: ContextTag,
    /// None is defined here.
    pub options: Options,
}

impl Keepalive {
    pub(super) const FIXED_LEN: usize = 16;

    // req: RP-5.1-02, RP-5.1-03, RP-5.1-04, RP-5.1-05 (RFC 5534, 5.1)
    pub(super) fn parse(m: &[u8]) -> Result<Keepalive, ParseError> {
        require(m, MessageType::Keepalive, Self::FIXED_LEN)?;
        Ok(Keepalive {
            receiver_tag: field::tag_at(m, TAG)?,
            options: Options::parse(m, Self::FIXED_LEN, &RULES)?,
        })
    }

    // req: RP-5.1-02, RP-5.1-03, RP-5.1-04 (RFC 5534, 5.1)
    pub(super) fn emit_fields(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&field::tag_octets(self.receiver_tag));
        out.extend_from_slice(&[0; 4]);
    }
}

/// The REAP state of a Probe's sender.
// req: RP-5.2-11 (RFC 5534, 5.2)
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProbeState {
    /// 0: no problem, and none known at the peer.
    Operational,
    /// 1: nothing arrives although something is expected.
    Exploring,
    /// 2: packets arrive, but the peer may have a problem.
    InboundOk,
}

impl ProbeState {
    /// The state with this number; 3 is none.
    pub fn from_value(value: u8) -> Option<ProbeState> {
        match value {
            0 => Some(ProbeState::Operational),
            1 => Some(ProbeState::Exploring),
            2 => Some(ProbeState::InboundOk),
            _ => None,
        }
    }

    /// The 2-bit number.
    pub fn value(self) -> u8 {
        match self {
            ProbeState::Operational => 0,
            ProbeState::Exploring => 1,
            ProbeState::InboundOk => 2,
        }
    }
}

/// What identifies one Probe, sent or received.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProbeReport {
    /// IPv6 source address that the Probe was sent with.
    pub src: Locator,
    /// IPv6 destination address that it was sent to.
    pub dst: Locator,
    /// Its nonce.
    pub nonce: ProbeNonce,
    /// Data that is returned as it came.
    pub data: u32,
}

impl ProbeReport {
    /// Octets of a report.
    pub const LEN: usize = 40;
    const DST: usize = 16;
    const NONCE: usize = 32;
    const DATA: usize = 36;

    // req: RP-5.2-03, RP-5.2-13 (RFC 5534, 5.2)
    fn parse(m: &[u8], at: usize) -> Result<ProbeReport, ParseError> {
        Ok(ProbeReport {
            src: Locator(field::addr_at(m, at)?),
            dst: Locator(field::addr_at(m, at + Self::DST)?),
            nonce: ProbeNonce(field::u32_at(m, at + Self::NONCE)?),
            data: field::u32_at(m, at + Self::DATA)?,
        })
    }

    // req: RP-5.2-03, RP-5.2-13 (RFC 5534, 5.2)
    fn emit(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.src.0.octets());
        out.extend_from_slice(&self.dst.0.octets());
        out.extend_from_slice(&self.nonce.0.to_be_bytes());
        out.extend_from_slice(&self.data.to_be_bytes());
    }
}

/// Tests the pair of addresses it is sent with, and reports which Probes were sent and received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The tag that the receiver picked for the context.
    pub receiver_tag: ContextTag,
    /// The sender's REAP state.
    pub state: ProbeState,
    /// Probes sent, 1 to 15, this one first. More than 15 are not emitted.
    pub sent: Vec<ProbeReport>,
    /// Probes received, 0 to 15. More than 15 are not emitted.
    pub received: Vec<ProbeReport>,
    /// None is defined here.
    pub options: Options,
}

/// Psent and Precvd of a Probe.
fn counts(m: &[u8]) -> Result<(usize, usize), ParseError> {
    let octet = field::u8_at(m, COUNTS)?;
    Ok((usize::from(octet & 0x0f), usize::from(octet >> 4)))
}

/// Octets of the reports that a Probe claims to have.
pub(super) fn reports_len(m: &[u8]) -> Option<usize> {
    let (psent, precvd) = counts(m).ok()?;
    Some((psent + precvd) * ProbeReport::LEN)
}

impl Probe {
    /// The most reports of one kind in one Probe.
    pub const MAX_REPORTS: usize = 15;
    pub(super) const FIXED_LEN: usize = 16;

    // req: RP-5.2-02, RP-5.2-04, RP-5.2-05, RP-5.2-06, RP-5.2-11 (RFC 5534, 5.2)
    pub(super) fn parse(m: &[u8]) -> Result<Probe, ParseError> {
        require(m, MessageType::Probe, Self::FIXED_LEN)?;
        let (psent, precvd) = counts(m)?;
        let state = ProbeState::from_value(field::u8_at(m, STATE)? >> 6);
        let state = state.ok_or(ParseError::ProbeState)?;
        if psent == 0 {
            return Err(ParseError::ProbeWithoutSelf);
        }
        let at = |i: usize| Self::FIXED_LEN + i * ProbeReport::LEN;
        let options_at = at(psent + precvd);
        if options_at > m.len() {
            return Err(ParseError::ProbeReports);
        }
        let reports = |range: std::ops::Range<usize>| {
            range.map(|i| ProbeReport::parse(m, at(i))).collect::<Result<Vec<_>, _>>()
        };
        Ok(Probe {
            receiver_tag: field::tag_at(m, TAG)?,
            state,
            sent: reports(0..psent)?,
            received: reports(psent..psent + precvd)?,
            options: Options::parse(m, options_at, &RULES)?,
        })
    }

    /// The report about this Probe, which is the first one and names the addresses that it came with.
    ///
    /// # Errors
    /// [`ParseError::ProbeAddresses`] if it does not: the Probe is to be dropped.
    // req: RP-5.2-06 (RFC 5534, 5.2)
    pub fn own_report(&self, src: Locator, dst: Locator) -> Result<&ProbeReport, ParseError> {
        match self.sent.first() {
            Some(own) if own.src == src && own.dst == dst => Ok(own),
            Some(_) => Err(ParseError::ProbeAddresses),
            None => Err(ParseError::ProbeWithoutSelf),
        }
    }

    fn emitted_sent(&self) -> &[ProbeReport] {
        &self.sent[..self.sent.len().min(Self::MAX_REPORTS)]
    }

    fn emitted_received(&self) -> &[ProbeReport] {
        &self.received[..self.received.len().min(Self::MAX_REPORTS)]
    }

    /// Octets of the reports that are emitted.
    pub(super) fn reports_emitted_len(&self) -> usize {
        (self.emitted_sent().len() + self.emitted_received().len()) * ProbeReport::LEN
    }

    // req: RP-5.2-02, RP-5.2-04, RP-5.2-05, RP-5.2-14 (RFC 5534, 5.2)
    pub(super) fn emit_fields(&self, out: &mut Vec<u8>) {
        debug_assert!(!self.sent.is_empty(), "a Probe reports itself");
        let (sent, received) = (self.emitted_sent(), self.emitted_received());
        out.extend_from_slice(&field::tag_octets(self.receiver_tag));
        let counts = (received.len() << 4 | sent.len()) as u8;
        out.extend_from_slice(&[counts, self.state.value() << 6, 0, 0]);
        for report in sent.iter().chain(received) {
            report.emit(out);
        }
    }
}
