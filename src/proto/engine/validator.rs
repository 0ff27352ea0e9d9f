//! The Responder Validator (RFC 5533, 7.10.1, 7.17.1): what lets a responder stay without state.
//!
//! HMAC-SHA-256, cut to 16 octets, over a label, the Responder Nonce and everything that the later I2 or I2bis must
//! repeat. The Responder Nonce is the age of our clock in steps of [`STEP`], so the answer's age is known without
//! remembering the question. The secret changes periodically; the previous one stays valid for one more period.
//!
//! The Initiator Nonce is not covered, since I2 may carry another one than I1.

use crate::addr::{ContextTag, Fii, LocatorPair, ResponderNonce, UlidPair};
use crate::proto::Time;
use openssl::sha::Sha256;
use std::time::Duration;

/// Resolution of the Responder Nonce.
pub const STEP: Duration = Duration::from_secs(5);
/// Octets of a validator of ours.
pub const LEN: usize = 16;

/// What an R1 or R1bis was an answer to, as the answering host sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// An I1.
    I1 {
        /// Initiator Context Tag.
        tag: ContextTag,
        /// ULID(local) and ULID(peer).
        ulids: UlidPair,
        /// Forked instance, 0 without the option.
        fii: Fii,
        /// The pair of the packet.
        pair: LocatorPair,
    },
    /// A packet with a tag that we do not know.
    Tagged {
        /// The tag in that packet.
        tag: ContextTag,
        /// The pair of the packet.
        pair: LocatorPair,
    },
}

impl Question {
    /// Octets under the hash, after the nonce. Both forms start with their own label and have a fixed length, so
    /// neither can be taken for the other.
    fn octets(&self) -> Vec<u8> {
        let mut o = Vec::with_capacity(80);
        let pair = match self {
            Question::I1 { tag, ulids, fii, pair } => {
                o.extend(b"R1\0\0\0");
                o.extend(tag.value().to_be_bytes());
                o.extend(ulids.local.0.octets());
                o.extend(ulids.peer.0.octets());
                o.extend(fii.0.to_be_bytes());
                pair
            }
            Question::Tagged { tag, pair } => {
                o.extend(b"R1bis");
                o.extend(tag.value().to_be_bytes());
                pair
            }
        };
        o.extend(pair.local.0.octets());
        o.extend(pair.peer.0.octets());
        o
    }
}

/// Why an answer was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The Responder Nonce is too old, or lies in the future.
    Stale,
    /// The validator is not the one we would have made.
    Mismatch,
}

/// A secret as HMAC uses it (RFC 2104): both hashes behind their first block. Every I1 of anybody costs one MAC, so it
/// has to cost two hashes and nothing else.
struct Secret {
    inner: Sha256,
    outer: Sha256,
}

impl Secret {
    fn new(key: &[u8; 32]) -> Secret {
        let begun = |pad: u8| {
            let mut block = [pad; 64];
            block.iter_mut().zip(key).for_each(|(b, k)| *b ^= k);
            let mut hash = Sha256::new();
            hash.update(&block);
            hash
        };
        Secret { inner: begun(0x36), outer: begun(0x5c) }
    }

    fn random(rng: &mut dyn rand::RngCore) -> Secret {
        let mut key = [0; 32];
        rng.fill_bytes(&mut key);
        Secret::new(&key)
    }

    fn mac(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut inner = self.inner.clone();
        parts.iter().for_each(|p| inner.update(p));
        let mut outer = self.outer.clone();
        outer.update(&inner.finish());
        outer.finish()
    }
}

/// The host's secret and what is made with it.
pub struct Validator {
    current: Secret,
    previous: Option<Secret>,
    changed: Time,
    rotation: Duration,
    max_age: Duration,
}

impl Validator {
    /// A validator with a new secret that has not been used before (so nothing from before a restart is accepted).
    ///
    /// `rotation` is the life of a secret; `max_age` how old an answer may be, at least `min_lifetime`.
    pub fn new(
        now: Time,
        rng: &mut dyn rand::RngCore,
        rotation: Duration,
        max_age: Duration,
        min_lifetime: Duration,
    ) -> Validator {
        // The nonce counts whole steps, so the bound is met only with one step more.
        let max_age = max_age.max(min_lifetime) + STEP;
        // A secret has to outlive the answers made with it.
        Validator {
            current: Secret::random(rng),
            previous: None,
            changed: now,
            rotation: rotation.max(max_age),
            max_age,
        }
    }

    /// Takes over new settings; secrets stay.
    pub fn set_times(&mut self, rotation: Duration, max_age: Duration, min_lifetime: Duration) {
        self.max_age = max_age.max(min_lifetime) + STEP;
        self.rotation = rotation.max(self.max_age);
    }

    /// Replaces the secret if its time is over.
    // req: S6-16.2-01
    fn rotate(&mut self, now: Time, rng: &mut dyn rand::RngCore) {
        let age = now.since(self.changed);
        if age < self.rotation {
            return;
        }
        let last = std::mem::replace(&mut self.current, Secret::random(rng));
        // After two periods without use not even the previous secret may live on.
        self.previous = (age < self.rotation * 2).then_some(last);
        self.changed = now;
    }

    /// Nonce and validator for an R1 or R1bis sent now. Keeps nothing.
    // req: S6-5.15.1-01, S6-7.10-01, S6-7.10.1-01, S6-7.10.1-02, S6-7.17.1-01
    pub fn issue(
        &mut self,
        now: Time,
        rng: &mut dyn rand::RngCore,
        question: &Question,
    ) -> (ResponderNonce, [u8; LEN]) {
        self.rotate(now, rng);
        let nonce = step_of(now);
        (nonce, mac(&self.current, nonce, question))
    }

    /// Checks what an I2 or I2bis brings back.
    ///
    /// # Errors
    /// [`Refusal`]; the caller discards the message silently.
    // req: S6-7.13-02, S6-7.13-03, S6-7.20-02, S6-7.20-03
    pub fn check(
        &mut self,
        now: Time,
        rng: &mut dyn rand::RngCore,
        question: &Question,
        nonce: ResponderNonce,
        validator: &[u8],
    ) -> Result<(), Refusal> {
        self.rotate(now, rng);
        let age = step_of(now).0.wrapping_sub(nonce.0);
        // A nonce from the future gives a huge difference.
        if u64::from(age) * STEP.as_secs() > self.max_age.as_secs() {
            return Err(Refusal::Stale);
        }
        let ok = |secret: &Secret| {
            let own = mac(secret, nonce, question);
            own.len() == validator.len() && openssl::memcmp::eq(&own, validator)
        };
        if ok(&self.current) || self.previous.as_ref().is_some_and(ok) {
            Ok(())
        } else {
            Err(Refusal::Mismatch)
        }
    }
}

/// The nonce of a time.
fn step_of(now: Time) -> ResponderNonce {
    // Wraps after 680 years.
    ResponderNonce((now.nanos() / STEP.as_nanos() as u64) as u32)
}

/// HMAC-SHA-256 cut to [`LEN`].
fn mac(secret: &Secret, nonce: ResponderNonce, question: &Question) -> [u8; LEN] {
    let whole = secret.mac(&[&nonce.0.to_be_bytes(), &question.octets()]);
    let mut cut = [0; LEN];
    cut.copy_from_slice(&whole[..LEN]);
    cut
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::{Locator, Ulid};
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    fn question(tag: u64) -> Question {
        Question::I1 {
            tag: ContextTag::from_masked(tag),
            ulids: UlidPair {
                local: Ulid("2001:db8:1::1".parse().unwrap()),
                peer: Ulid("2001:db8:2::1".parse().unwrap()),
            },
            fii: Fii(0),
            pair: LocatorPair {
                local: Locator("2001:db8:1::1".parse().unwrap()),
                peer: Locator("2001:db8:2::1".parse().unwrap()),
            },
        }
    }

    fn validator(rng: &mut StdRng) -> Validator {
        let s = Duration::from_secs;
        Validator::new(Time::from_secs(1000), rng, s(600), s(60), s(30))
    }

    /// RFC 4231, section 4.2; a shorter key is filled up with zeros.
    #[test]
    fn the_mac_is_hmac_sha_256() {
        let mut key = [0; 32];
        key[..20].fill(0x0b);
        let mac = Secret::new(&key).mac(&[b"Hi ", b"There"]);
        let hex: String = mac.iter().map(|o| format!("{o:02x}")).collect();
        assert_eq!(hex, "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
    }

    // req-test: S6-7.13-02, S6-7.13-03, S6-7.20-02, S6-7.10.1-02, S6-14-07
    #[test]
    fn answers_are_good_for_a_minute_and_never_for_less_than_half_a_minute() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut v = validator(&mut rng);
        for offset in 0..5 {
            let t0 = Time::from_secs(1000 + offset);
            let (n, mac) = v.issue(t0, &mut rng, &question(1));
            for age in [0, 1, 29, 30, 60] {
                let at = t0 + Duration::from_secs(age);
                assert_eq!(v.check(at, &mut rng, &question(1), n, &mac), Ok(()), "age {age}");
            }
            let at = t0 + Duration::from_secs(75);
            assert_eq!(v.check(at, &mut rng, &question(1), n, &mac), Err(Refusal::Stale));
            let at = t0 - Duration::from_secs(30);
            assert_eq!(v.check(at, &mut rng, &question(1), n, &mac), Err(Refusal::Stale), "future");
        }
    }

    // req-test: S6-7.10.1-01, S6-7.17.1-01, S6-5.15.1-01, S6-7.13-03, S6-7.20-03
    #[test]
    fn every_input_is_covered() {
        let mut rng = StdRng::seed_from_u64(2);
        let mut v = validator(&mut rng);
        let now = Time::from_secs(1000);
        let a = "2001:db8:9::9".parse().unwrap();
        let base = question(1);
        let Question::I1 { tag, ulids, fii, pair } = base else { panic!() };
        let others = [
            Question::I1 { tag: ContextTag::from_masked(2), ulids, fii, pair },
            Question::I1 { tag, ulids: UlidPair { local: Ulid(a), ..ulids }, fii, pair },
            Question::I1 { tag, ulids: UlidPair { peer: Ulid(a), ..ulids }, fii, pair },
            Question::I1 { tag, ulids, fii: Fii(1), pair },
            Question::I1 { tag, ulids, fii, pair: LocatorPair { local: Locator(a), ..pair } },
            Question::I1 { tag, ulids, fii, pair: LocatorPair { peer: Locator(a), ..pair } },
            Question::Tagged { tag, pair },
            Question::Tagged { tag: ContextTag::from_masked(2), pair },
            Question::Tagged { tag, pair: LocatorPair { peer: Locator(a), ..pair } },
            Question::Tagged { tag, pair: LocatorPair { local: Locator(a), ..pair } },
        ];
        let (n, mac) = v.issue(now, &mut rng, &base);
        assert_eq!(v.check(now, &mut rng, &base, n, &mac), Ok(()));
        for other in &others {
            assert_eq!(v.check(now, &mut rng, other, n, &mac), Err(Refusal::Mismatch), "{other:?}");
        }
        let (n6, mac6) = v.issue(now, &mut rng, &others[6]);
        assert_eq!(v.check(now, &mut rng, &others[6], n6, &mac6), Ok(()));
        for other in &others[7..] {
            assert!(v.check(now, &mut rng, other, n6, &mac6).is_err(), "{other:?}");
        }
        let mut bad = mac;
        bad[15] ^= 1;
        assert_eq!(v.check(now, &mut rng, &base, n, &bad), Err(Refusal::Mismatch));
        assert_eq!(v.check(now, &mut rng, &base, n, &mac[..15]), Err(Refusal::Mismatch));
        assert_eq!(v.check(now, &mut rng, &base, n, &[]), Err(Refusal::Mismatch));
        // The nonce is under the hash, too.
        let at = now + STEP;
        let next = ResponderNonce(n.0 + 1);
        assert_eq!(v.check(at, &mut rng, &base, next, &mac), Err(Refusal::Mismatch));
    }

    // req-test: S6-16.2-01
    #[test]
    fn secret_rotation_keeps_a_running_handshake_alive() {
        let mut rng = StdRng::seed_from_u64(3);
        let mut v = validator(&mut rng);
        let sample = |s: &Secret| s.mac(&[b"sample"]);
        let before = sample(&v.current);
        let t = Time::from_secs(1590);
        let (n, mac) = v.issue(t, &mut rng, &question(1));
        let after = Time::from_secs(1605);
        assert_eq!(v.check(after, &mut rng, &question(1), n, &mac), Ok(()));
        assert_ne!(sample(&v.current), before);
        assert_eq!(v.previous.as_ref().map(sample), Some(before));
        // Long silence: no secret of old times is left.
        let late = Time::from_secs(9000);
        v.issue(late, &mut rng, &question(1));
        assert!(v.previous.is_none());
    }

    // req-test: S6-7.17.1-01
    #[test]
    fn a_new_engine_accepts_nothing_of_the_old_one() {
        let mut rng = StdRng::seed_from_u64(4);
        let now = Time::from_secs(1000);
        let (n, mac) = validator(&mut rng).issue(now, &mut rng, &question(1));
        let mut other = validator(&mut rng);
        assert_eq!(other.check(now, &mut rng, &question(1), n, &mac), Err(Refusal::Mismatch));
    }

    // req-test: S6-16.2-01
    #[test]
    fn a_secret_is_replaced_at_the_end_of_its_life_and_gone_after_two() {
        let sample = |s: &Secret| s.mac(&[b"sample"]);
        let secs = |s: u64| Time::from_secs(1000 + s);
        for (at, replaced, kept) in
            [(599, false, false), (600, true, true), (1199, true, true), (1200, true, false)]
        {
            let mut rng = StdRng::seed_from_u64(5);
            let mut v = validator(&mut rng);
            let before = sample(&v.current);
            v.rotate(secs(at), &mut rng);
            assert_eq!(sample(&v.current) != before, replaced, "after {at} s");
            assert_eq!(v.previous.as_ref().map(sample), kept.then_some(before), "after {at} s");
            assert_eq!(v.changed, if replaced { secs(at) } else { secs(0) });
        }
    }

    // req-test: S6-7.13-02, S6-14-07
    #[test]
    fn an_answer_may_be_as_old_as_the_settings_say_and_a_step() {
        let seconds = Duration::from_secs;
        let oldest = |v: &mut Validator| {
            let mut rng = StdRng::seed_from_u64(6);
            let (n, mac) = v.issue(Time::from_secs(1000), &mut rng, &question(1));
            let good = |at: u64, rng: &mut StdRng, v: &mut Validator| {
                v.check(Time::from_secs(1000 + at), rng, &question(1), n, &mac).is_ok()
            };
            (0..500).take_while(|at| good(*at, &mut rng, v)).count() as u64
        };
        let mut rng = StdRng::seed_from_u64(7);
        let step = STEP.as_secs();
        // Times are counted in whole steps, so the last of them counts to its end.
        let whole = |secs: u64| (secs + step) / step * step + step;
        assert_eq!(oldest(&mut validator(&mut rng)), whole(60));
        let mut v = validator(&mut rng);
        v.set_times(seconds(600), seconds(100), seconds(30));
        assert_eq!(oldest(&mut v), whole(100));
        v.set_times(seconds(600), seconds(10), seconds(40));
        assert_eq!(oldest(&mut v), whole(40), "never less than the least life");
        // A secret lives as long as the answers made with it.
        v.set_times(seconds(1), seconds(100), seconds(30));
        assert_eq!(v.rotation, seconds(100) + STEP);
    }
}
