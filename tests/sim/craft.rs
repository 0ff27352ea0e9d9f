//! A peer made by hand: it speaks to one engine message by message, so that tests can put any state before any event.

use crate::world::{World, identity};
use shim6::addr::{
    ContextTag, Fii, Generation, InitNonce, Locator, LocatorPair, RequestNonce, ResponderNonce,
    Ulid, UlidPair,
};
use shim6::cga::{Identity, Method, Proof};
use shim6::proto::Config;
use shim6::proto::engine::{ContextView, State};
use shim6::wire::Message;
use shim6::wire::control::{I1, I2, I2bis, R1, R1bis, R2, UpdateAck, UpdateRequest};
use shim6::wire::control::{Keepalive, Probe, ProbeReport, ProbeState};
use shim6::wire::option::{LocatorEntry, LocatorList, Options, UlidPairOption, VerificationMethod};
use std::net::Ipv6Addr;

/// Our engine (host 0 of a world), and a peer with an identity but no engine.
pub struct Craft {
    pub w: World,
    pub peer: Identity,
    /// The tag that the peer uses.
    pub tag: ContextTag,
}

pub const PEER_TAG: u64 = 0x1234_5678;

impl Craft {
    pub fn new(seed: u64) -> Craft {
        Craft::with(seed, 2, Method::Hba, 2, |_| {})
    }

    pub fn with(
        seed: u64,
        locals: usize,
        method: Method,
        peers: usize,
        tweak: impl Fn(&mut Config),
    ) -> Craft {
        let w = World::with(seed, &[(locals, Method::Hba)], tweak);
        let peer = identity(seed, 1, peers, method);
        Craft { w, peer, tag: ContextTag::from_masked(PEER_TAG) }
    }

    pub fn us(&self, i: usize) -> Ipv6Addr {
        self.w.hosts[0].addrs[i]
    }

    pub fn them(&self, i: usize) -> Ipv6Addr {
        self.peer.members()[i]
    }

    /// As our engine sees it.
    pub fn ulids(&self) -> UlidPair {
        UlidPair { local: Ulid(self.us(0)), peer: Ulid(self.them(0)) }
    }

    pub fn pair(&self, i: usize, j: usize) -> LocatorPair {
        LocatorPair { local: Locator(self.us(i)), peer: Locator(self.them(j)) }
    }

    /// Our context, if there is one.
    pub fn context(&self) -> Option<ContextView> {
        let e = &self.w.hosts[0].engine;
        assert!(e.is_consistent());
        e.find(self.ulids(), Fii(0)).and_then(|id| e.context(id))
    }

    pub fn state(&self) -> State {
        let e = &self.w.hosts[0].engine;
        e.state_of(self.ulids(), Fii(0), self.w.now)
    }

    /// A message from the peer's j-th to our i-th address; what our engine sends because of it.
    pub fn hear_on(&mut self, i: usize, j: usize, m: &Message) -> Vec<(LocatorPair, Message)> {
        let (src, dst) = (self.them(j), self.us(i));
        self.hear_from(src, dst, m)
    }

    pub fn hear_from(
        &mut self,
        src: Ipv6Addr,
        dst: Ipv6Addr,
        m: &Message,
    ) -> Vec<(LocatorPair, Message)> {
        self.w.hosts[0].sent.clear();
        self.w.inject(0, src, dst, m);
        assert!(self.w.hosts[0].engine.is_consistent());
        self.sent()
    }

    pub fn hear(&mut self, m: &Message) -> Vec<(LocatorPair, Message)> {
        self.hear_on(0, 0, m)
    }

    /// What our engine has sent since the last time.
    pub fn sent(&mut self) -> Vec<(LocatorPair, Message)> {
        std::mem::take(&mut self.w.hosts[0].sent).into_iter().map(|(_, p, m)| (p, m)).collect()
    }

    /// The peer's whole list, as it stands in I2, I2bis and R2.
    pub fn locators(&self) -> Options {
        self.locators_of(&self.peer, Generation(1))
    }

    pub fn locators_of(&self, id: &Identity, generation: Generation) -> Options {
        let entries: Vec<LocatorEntry> = id
            .members()
            .iter()
            .map(|a| LocatorEntry {
                locator: Locator(*a),
                method: id.contains(*a).unwrap_or(Proof::Hba).into(),
            })
            .collect();
        let signed: Vec<Locator> = entries
            .iter()
            .filter(|e| e.method == VerificationMethod::Cga)
            .map(|e| e.locator)
            .collect();
        let signature = (!signed.is_empty()).then(|| id.sign(generation, &signed).unwrap());
        Options {
            pds: id.pds_for(id.members()[0]),
            signature,
            locator_list: Some(LocatorList { generation, entries }),
            keepalive_timeout: Some(15),
            ..Options::default()
        }
    }

    pub fn ulid_option(&self) -> UlidPairOption {
        UlidPairOption { sender: Ulid(self.them(0)), receiver: Ulid(self.us(0)) }
    }

    pub fn i1(&self, tag: ContextTag, nonce: u32) -> I1 {
        I1 { initiator_tag: tag, init_nonce: InitNonce(nonce), options: Options::default() }
    }

    /// Gets an R1 for an I1 and makes the I2 that answers it, on the pair of our i-th and the peer's j-th address.
    pub fn i2_on(&mut self, i: usize, j: usize, tag: ContextTag, nonce: u32) -> I2 {
        let mut i1 = self.i1(tag, nonce);
        if (i, j) != (0, 0) {
            i1.options.ulid_pair = Some(self.ulid_option());
        }
        let ulid_pair = i1.options.ulid_pair;
        // A tag of its own makes sure that an existing context answers with R1, too.
        let r1 = self.r1_for(i, j, &i1);
        I2 {
            initiator_tag: tag,
            init_nonce: InitNonce(nonce),
            responder_nonce: r1.responder_nonce,
            options: Options { validator: r1.options.validator, ulid_pair, ..self.locators() },
        }
    }

    pub fn i2(&mut self, tag: ContextTag, nonce: u32) -> I2 {
        self.i2_on(0, 0, tag, nonce)
    }

    /// An I2 from and for the peer's second address that names the tag of our context with its first.
    pub fn i2_that_confuses(&mut self) -> I2 {
        let mut i1 = self.i1(self.tag, 50);
        let sender = Ulid(self.them(1));
        i1.options.ulid_pair = Some(UlidPairOption { sender, receiver: Ulid(self.us(0)) });
        let r1 = self.r1_for(0, 1, &i1);
        let mut options = self.locators();
        options.pds = self.peer.pds_for(sender.0);
        options.validator = r1.options.validator;
        options.ulid_pair = i1.options.ulid_pair;
        I2 {
            initiator_tag: self.tag,
            init_nonce: i1.init_nonce,
            responder_nonce: r1.responder_nonce,
            options,
        }
    }

    /// The R1 that our engine would send for this I1 if it had no context with the peer.
    pub fn r1_for(&mut self, i: usize, j: usize, i1: &I1) -> R1 {
        let out = self.hear_on(i, j, &Message::I1(i1.clone()));
        for (_, m) in out {
            if let Message::R1(r1) = m {
                return r1;
            }
        }
        panic!("no R1");
    }

    /// The I2bis that answers an R1bis of ours for an unknown tag.
    pub fn i2bis(&mut self, tag: ContextTag, nonce: u32) -> I2bis {
        let lost = ContextTag::from_masked(0x7777_0000_0001);
        let keepalive = Keepalive { receiver_tag: lost, options: Options::default() };
        let out = self.hear(&Message::Keepalive(keepalive));
        let Some((_, Message::R1bis(r1bis))) = out.into_iter().next() else {
            panic!("no R1bis");
        };
        assert_eq!(r1bis.packet_tag, lost);
        I2bis {
            initiator_tag: tag,
            init_nonce: InitNonce(nonce),
            responder_nonce: r1bis.responder_nonce,
            packet_tag: lost,
            options: Options { validator: r1bis.options.validator, ..self.locators() },
        }
    }

    /// The R1 of the peer to our I1.
    pub fn r1(&self, nonce: InitNonce) -> R1 {
        R1 {
            init_nonce: nonce,
            responder_nonce: ResponderNonce(99),
            options: Options { validator: Some(vec![7; 20]), ..Options::default() },
        }
    }

    pub fn r2(&self, nonce: InitNonce) -> R2 {
        R2 { responder_tag: self.tag, init_nonce: nonce, options: self.locators() }
    }

    pub fn r1bis(&self) -> R1bis {
        R1bis {
            packet_tag: self.tag,
            responder_nonce: ResponderNonce(98),
            options: Options { validator: Some(vec![8; 24]), ..Options::default() },
        }
    }

    pub fn keepalive(&self) -> Keepalive {
        let tag = self.context().map_or(ContextTag::from_masked(5), |c| c.local_tag);
        Keepalive { receiver_tag: tag, options: Options::default() }
    }

    pub fn update_request(&self, nonce: u32, options: Options) -> UpdateRequest {
        let tag = self.context().map_or(ContextTag::from_masked(5), |c| c.local_tag);
        UpdateRequest { receiver_tag: tag, request_nonce: RequestNonce(nonce), options }
    }

    pub fn update_ack(&self, nonce: u32) -> UpdateAck {
        let tag = self.context().map_or(ContextTag::from_masked(5), |c| c.local_tag);
        let options = Options::default();
        UpdateAck { receiver_tag: tag, request_nonce: RequestNonce(nonce), options }
    }

    /// A Probe from the peer's j-th to our i-th address.
    pub fn probe(&self, i: usize, j: usize, state: ProbeState) -> Probe {
        let tag = self.context().map_or(ContextTag::from_masked(5), |c| c.local_tag);
        let own = ProbeReport {
            src: Locator(self.them(j)),
            dst: Locator(self.us(i)),
            nonce: shim6::addr::ProbeNonce(4711),
            data: 0,
        };
        let options = Options::default();
        Probe { receiver_tag: tag, state, sent: vec![own], received: vec![], options }
    }

    // ---- bringing our engine into a state ----

    /// I1-SENT; the nonce of the I1.
    pub fn reach_i1_sent(&mut self) -> InitNonce {
        let ulids = self.ulids();
        self.w
            .on(0, |e, cx| e.handle_command(cx, shim6::proto::Command::Establish(ulids)))
            .unwrap();
        let out = self.sent();
        let Some((_, Message::I1(i1))) = out.into_iter().next() else { panic!("no I1") };
        assert_eq!(self.state(), State::I1Sent);
        i1.init_nonce
    }

    /// I2-SENT; the nonce of I1 and I2.
    pub fn reach_i2_sent(&mut self) -> InitNonce {
        let nonce = self.reach_i1_sent();
        let r1 = self.r1(nonce);
        let out = self.hear(&Message::R1(r1));
        assert!(matches!(&out[..], [(_, Message::I2(i2))] if i2.init_nonce == nonce));
        assert_eq!(self.state(), State::I2Sent);
        nonce
    }

    /// ESTABLISHED, with the peer's tag and list.
    pub fn reach_established(&mut self) {
        let nonce = self.reach_i2_sent();
        let r2 = self.r2(nonce);
        let out = self.hear(&Message::R2(r2));
        assert!(out.is_empty());
        assert_eq!(self.state(), State::Established);
    }

    /// I2BIS-SENT; the nonce of the I2bis.
    pub fn reach_i2bis_sent(&mut self) -> InitNonce {
        self.reach_established();
        self.w.secs(10);
        let r1bis = self.r1bis();
        let out = self.hear(&Message::R1bis(r1bis));
        let Some((_, Message::I2bis(m))) = out.into_iter().next() else { panic!("no I2bis") };
        assert_eq!(self.state(), State::I2bisSent);
        m.init_nonce
    }

    /// E-FAILED.
    pub fn reach_e_failed(&mut self) {
        self.reach_i1_sent();
        while self.state() == State::I1Sent {
            self.w.secs(1);
        }
        assert_eq!(self.state(), State::EFailed);
        self.sent();
    }

    /// NO-SUPPORT.
    pub fn reach_no_support(&mut self) {
        let nonce = self.reach_i1_sent();
        let tag = self.context().unwrap().local_tag;
        let i1 = I1 { initiator_tag: tag, init_nonce: nonce, options: Options::default() };
        self.refused(4, 1, &i1);
        assert_eq!(self.state(), State::NoSupport);
    }

    /// An ICMPv6 error that quotes this I1 from our first to the peer's first address.
    pub fn refused(&mut self, icmp_type: u8, icmp_code: u8, i1: &I1) {
        let (src, dst) = (Locator(self.us(0)), Locator(self.them(0)));
        let quoted = Message::I1(i1.clone()).emit();
        let notice =
            shim6::proto::Notice::ControlRefused { icmp_type, icmp_code, src, dst, quoted };
        self.w.notice(0, notice);
    }
}
