//! Requests whose answer the network gives: tests of a pair, and whether a peer knows Shim6.

use crate::addr::{LocatorPair, UlidPair};
use crate::control::api::{self, ApiError, ErrorCode, Response, Support};
use crate::control::server::{Peer, Reply};
use crate::proto::{ContextId, Event, Time};
use std::time::Duration;

/// Requests that may wait at a time.
const MOST: usize = 256;
/// Of those, kept free for callers with privileges, who are bound by nothing else.
const RESERVED: usize = 64;
/// Requests for one context, and of one user without privileges.
const PER_CONTEXT: usize = 8;
const PER_USER: usize = 32;

/// What a request waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Awaited {
    /// A probe on a pair is answered.
    Test {
        /// The context.
        context: ContextId,
        /// The pair.
        pair: LocatorPair,
        /// How long one test takes at most.
        longest: Duration,
    },
    /// Packets go by a pair, or it does not answer.
    Switch {
        /// The context.
        context: ContextId,
        /// The pair.
        pair: LocatorPair,
        /// How long the test takes at most.
        longest: Duration,
    },
    /// A peer answers, or refuses.
    Check {
        /// The pair of ULIDs.
        ulids: UlidPair,
        /// The context that asks.
        context: ContextId,
        /// How long the caller wants to wait.
        longest: Duration,
    },
}

/// Requests that wait.
#[derive(Debug, Default)]
pub struct Waits(Vec<Wait>);

#[derive(Debug)]
struct Wait {
    what: Awaited,
    until: Time,
    uid: u32,
    reply: Reply,
}

impl Waits {
    /// Whether one more of this caller may wait for this context, or for one that is still to be negotiated.
    ///
    /// # Errors
    /// `busy`.
    pub fn check_room(&mut self, who: &Peer, context: Option<ContextId>) -> Result<(), ApiError> {
        // A test goes on when its caller has left, so it counts until it is over; a check ends with its caller.
        self.0.retain(|w| !(matches!(w.what, Awaited::Check { .. }) && w.reply.is_closed()));
        let of_user = || self.0.iter().filter(|w| w.uid == who.uid).count();
        let of_context = || context.map_or(0, |context| self.waiting(context));
        let room = match who.privileged {
            true => self.0.len() < MOST,
            false => {
                self.0.len() < MOST - RESERVED && of_context() < PER_CONTEXT && of_user() < PER_USER
            }
        };
        if room {
            return Ok(());
        }
        Err(ApiError::new(ErrorCode::Busy, "too many tests and checks are running")
            .remedy("try again when they have ended"))
    }

    fn waiting(&self, context: ContextId) -> usize {
        self.0.iter().filter(|w| w.context() == context).count()
    }

    /// Keeps a request until its answer comes or its time is over.
    pub fn add(&mut self, what: Awaited, who: &Peer, reply: Reply, now: Time) {
        let until = match what {
            // Tests of one context are made one after the other.
            Awaited::Test { context, longest, .. } | Awaited::Switch { context, longest, .. } => {
                now + longest * (self.waiting(context) as u32 + 1)
            }
            Awaited::Check { longest, .. } => now + longest,
        };
        self.0.push(Wait { what, until, uid: who.uid, reply });
    }

    /// Tells all of them that the daemon stops.
    pub fn finish(&mut self) {
        for wait in self.0.drain(..) {
            wait.reply.send(Err(ApiError::stopping()));
        }
    }

    /// When the first of them has to be answered.
    pub fn next(&self) -> Option<Time> {
        self.0.iter().map(|w| w.until).min()
    }

    /// Answers those to which an event is the answer.
    pub fn on_event(&mut self, event: &Event) {
        if self.0.is_empty() {
            return;
        }
        self.settle(|what| answer_in(event, what));
    }

    /// Switches that nobody waits for any more once the time of these is over.
    pub fn late_switches(&self, now: Time) -> Vec<(ContextId, LocatorPair)> {
        let switch = |w: &Wait| match w.what {
            Awaited::Switch { context, pair, .. } => Some((context, pair)),
            Awaited::Test { .. } | Awaited::Check { .. } => None,
        };
        let (late, others): (Vec<_>, Vec<_>) = self.0.iter().partition(|w| w.until <= now);
        let others: Vec<_> = others.into_iter().filter_map(switch).collect();
        late.into_iter().filter_map(switch).filter(|s| !others.contains(s)).collect()
    }

    /// Answers those whose time is over: no answer is one.
    pub fn expire(&mut self, now: Time) {
        if self.next().is_none_or(|t| t > now) {
            return;
        }
        for wait in self.0.extract_if(.., |w| w.until <= now) {
            wait.reply.send(match wait.what {
                Awaited::Switch { pair, .. } => Err(silent(pair)),
                Awaited::Test { pair, .. } => {
                    Ok(Response::PathTested { pair: pair.into(), reachable: false, rtt_us: None })
                }
                Awaited::Check { context, .. } => Ok(Response::PeerSupport {
                    support: Support::Unknown,
                    context: Some(api::ContextId(context.0)),
                }),
            });
        }
    }

    fn settle(&mut self, answer: impl Fn(&Awaited) -> Option<Result<Response, ApiError>>) {
        let mut i = 0;
        while let Some(wait) = self.0.get(i) {
            match answer(&wait.what) {
                Some(result) => self.0.swap_remove(i).reply.send(result),
                None => i += 1,
            }
        }
    }
}

impl Wait {
    fn context(&self) -> ContextId {
        match self.what {
            Awaited::Test { context, .. }
            | Awaited::Switch { context, .. }
            | Awaited::Check { context, .. } => context,
        }
    }
}

fn silent(pair: LocatorPair) -> ApiError {
    ApiError::new(ErrorCode::UnreachableLocator, format!("{pair} does not answer"))
        .remedy("nothing was changed")
}

/// The answer that an event holds, if it does.
fn answer_in(event: &Event, what: &Awaited) -> Option<Result<Response, ApiError>> {
    match (what, event) {
        (
            Awaited::Test { context, pair, .. },
            Event::ProbeAnswered { context: of, pair: on, rtt },
        ) if context == of && pair == on => {
            let rtt_us = Some(rtt.as_micros() as u64);
            Some(Ok(Response::PathTested { pair: (*pair).into(), reachable: true, rtt_us }))
        }
        (
            Awaited::Test { context, pair, .. },
            Event::Tested { context: of, pair: on, rtt: None },
        ) if context == of && pair == on => {
            let pair = (*pair).into();
            Some(Ok(Response::PathTested { pair, reachable: false, rtt_us: None }))
        }
        (Awaited::Switch { context, pair, .. }, Event::Switched { context: of, to, .. })
            if context == of && pair == to =>
        {
            let context = api::ContextId(context.0);
            Some(Ok(Response::PathInUse { context, pair: (*pair).into() }))
        }
        (
            Awaited::Switch { context, pair, .. },
            Event::Tested { context: of, pair: on, rtt: None },
        ) if context == of && pair == on => Some(Err(silent(*pair))),
        (Awaited::Switch { context, pair, .. }, Event::Overtaken { context: of, pair: on })
            if context == of && pair == on =>
        {
            let text = "something else was asked for this context meanwhile";
            Some(Err(ApiError::new(ErrorCode::NotPossible, text)))
        }
        (
            Awaited::Test { context, .. } | Awaited::Switch { context, .. },
            Event::Discarded { context: of, .. },
        ) if context == of => {
            Some(Err(ApiError::new(ErrorCode::NoContext, "the context has ended meanwhile")))
        }
        (Awaited::Check { ulids, .. }, Event::Established { context, ulids: of })
            if ulids == of =>
        {
            Some(Ok(Response::PeerSupport {
                support: Support::Yes,
                context: Some(api::ContextId(context.0)),
            }))
        }
        (Awaited::Check { ulids, .. }, Event::EstablishFailed { ulids: of, state, .. })
            if ulids == of =>
        {
            let support = match *state {
                "NO-SUPPORT" => Support::No,
                _ => Support::Unknown,
            };
            Some(Ok(Response::PeerSupport { support, context: None }))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::{Locator, Ulid};
    use crate::control::server::{Caller, Driver, Incoming, link};

    const WHO: Peer = Peer { pid: 1, uid: 2, gid: 3, privileged: false };

    fn pair(n: u16) -> LocatorPair {
        let at = |last| Locator([0x2001, 0xdb8, n, 0, 0, 0, 0, last].into());
        LocatorPair { local: at(1), peer: at(2) }
    }

    /// Sends a request through a link and gives its reply to the test.
    async fn asked(
        caller: &Caller,
        driver: &mut Driver,
    ) -> (tokio::task::JoinHandle<Result<Response, ApiError>>, Reply) {
        let caller = caller.clone();
        let request = api::Request::SocketStatus {};
        let task = tokio::task::spawn(async move { caller.call(WHO, request, None).await });
        let Incoming { reply, .. } = driver.calls.recv().await.unwrap();
        (task, reply)
    }

    fn block_on(test: impl Future<Output = ()>) {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(test);
    }

    #[test]
    fn tests_end_with_the_answer_or_in_time() {
        block_on(async {
            let (caller, mut driver) = link();
            let mut waits = Waits::default();
            let (context, longest) = (ContextId(7), Duration::from_secs(3));
            let start = Time::from_nanos(5);
            let (answered, reply) = asked(&caller, &mut driver).await;
            waits.add(Awaited::Test { context, pair: pair(1), longest }, &WHO, reply, start);
            let (silent, reply) = asked(&caller, &mut driver).await;
            waits.add(Awaited::Test { context, pair: pair(2), longest }, &WHO, reply, start);
            assert_eq!(waits.next(), Some(start + longest));
            let rtt = Duration::from_millis(20);
            waits.on_event(&Event::ProbeAnswered { context: ContextId(8), pair: pair(1), rtt });
            waits.on_event(&Event::ProbeAnswered { context, pair: pair(1), rtt });
            assert!(matches!(
                answered.await.unwrap(),
                Ok(Response::PathTested { reachable: true, rtt_us: Some(20_000), .. })
            ));
            // The second had to wait for the first.
            waits.expire(start + longest);
            assert_eq!(waits.next(), Some(start + longest * 2));
            waits.expire(start + longest * 2);
            assert!(matches!(
                silent.await.unwrap(),
                Ok(Response::PathTested { reachable: false, rtt_us: None, .. })
            ));
            assert_eq!(waits.next(), None);
        });
    }

    #[test]
    fn checks_end_with_yes_no_or_unknown() {
        block_on(async {
            let (caller, mut driver) = link();
            let ulids = UlidPair { local: Ulid(pair(1).local.0), peer: Ulid(pair(1).peer.0) };
            let (context, longest) = (ContextId(7), Duration::from_secs(5));
            let failed = |state| Event::EstablishFailed { context, ulids, state };
            for (event, wanted) in [
                (Some(Event::Established { context, ulids }), Support::Yes),
                (Some(failed("NO-SUPPORT")), Support::No),
                (Some(failed("E-FAILED")), Support::Unknown),
                (None, Support::Unknown),
            ] {
                let mut waits = Waits::default();
                let (answer, reply) = asked(&caller, &mut driver).await;
                waits.add(Awaited::Check { ulids, context, longest }, &WHO, reply, Time::ZERO);
                match event {
                    Some(event) => waits.on_event(&event),
                    None => waits.expire(Time::ZERO + longest),
                }
                match answer.await.unwrap() {
                    Ok(Response::PeerSupport { support, .. }) => assert_eq!(support, wanted),
                    other => panic!("{other:?}"),
                }
            }
        });
    }

    /// Lets requests of a caller wait for tests of a context until there is no room.
    async fn fill(
        waits: &mut Waits,
        link: &mut (Caller, Driver),
        who: &Peer,
        contexts: impl IntoIterator<Item = u64>,
    ) -> Vec<tokio::task::JoinHandle<Result<Response, ApiError>>> {
        let mut tasks = Vec::new();
        for context in contexts.into_iter().map(ContextId) {
            if waits.check_room(who, Some(context)).is_err() {
                break;
            }
            let (task, reply) = asked(&link.0, &mut link.1).await;
            tasks.push(task);
            let longest = Duration::from_secs(3);
            waits.add(Awaited::Test { context, pair: pair(1), longest }, who, reply, Time::ZERO);
        }
        tasks
    }

    #[test]
    fn waiting_is_bounded() {
        block_on(async {
            let mut link = link();
            let mut waits = Waits::default();
            let of_one = fill(&mut waits, &mut link, &WHO, std::iter::repeat(7)).await;
            assert_eq!(of_one.len(), PER_CONTEXT);
            assert_eq!(waits.check_room(&WHO, Some(ContextId(8))), Ok(()));
            assert_eq!(waits.check_room(&WHO, None), Ok(()));
            let others = fill(&mut waits, &mut link, &WHO, 100..).await;
            assert_eq!(of_one.len() + others.len(), PER_USER);
            assert_eq!(waits.check_room(&WHO, None).unwrap_err().code, ErrorCode::Busy);
            let other = Peer { uid: 9, ..WHO };
            assert_eq!(waits.check_room(&other, Some(ContextId(8))), Ok(()));
            let ulids = UlidPair { local: Ulid(pair(1).local.0), peer: Ulid(pair(1).peer.0) };
            let context = ContextId(7);
            waits.on_event(&Event::Discarded { context, ulids, reason: "idle" });
            for task in of_one {
                assert_eq!(task.await.unwrap().unwrap_err().code, ErrorCode::NoContext);
            }
            waits.expire(Time::ZERO + Duration::from_secs(3));
            for task in others {
                assert!(task.await.unwrap().is_ok());
            }
        });
    }

    #[test]
    fn switches_are_told_when_overtaken_and_given_up_when_nobody_waits() {
        block_on(async {
            let (caller, mut driver) = link();
            let mut waits = Waits::default();
            let (context, longest) = (ContextId(7), Duration::from_secs(3));
            let switch = |n, longest| Awaited::Switch { context, pair: pair(n), longest };
            // Each waits for those before it, too: until once, four times, and three times the longest.
            let (first, reply) = asked(&caller, &mut driver).await;
            waits.add(switch(1, longest), &WHO, reply, Time::ZERO);
            let (second, reply) = asked(&caller, &mut driver).await;
            waits.add(switch(1, 2 * longest), &WHO, reply, Time::ZERO);
            let (other, reply) = asked(&caller, &mut driver).await;
            waits.add(switch(2, longest), &WHO, reply, Time::ZERO);
            let late = Time::ZERO + 3 * longest;
            assert_eq!(waits.late_switches(late), [(context, pair(2))], "one waits for the other");
            waits.on_event(&Event::Overtaken { context, pair: pair(2) });
            assert_eq!(other.await.unwrap().unwrap_err().code, ErrorCode::NotPossible);
            waits.expire(late);
            assert_eq!(first.await.unwrap().unwrap_err().code, ErrorCode::UnreachableLocator);
            assert_eq!(waits.late_switches(late + longest), [(context, pair(1))]);
            waits.expire(late + longest);
            assert!(second.await.unwrap().is_err());
        });
    }

    #[test]
    fn callers_without_privileges_leave_room_for_those_with() {
        block_on(async {
            let mut link = link();
            let mut waits = Waits::default();
            let root = Peer { uid: 0, privileged: true, ..WHO };
            fill(&mut waits, &mut link, &WHO, std::iter::repeat(7)).await;
            assert!(waits.check_room(&WHO, Some(ContextId(7))).is_err());
            assert_eq!(waits.check_room(&root, Some(ContextId(7))), Ok(()));
            for uid in 10..100 {
                let first = u64::from(uid) * 100;
                fill(&mut waits, &mut link, &Peer { uid, ..WHO }, first..first + 99).await;
            }
            assert_eq!(waits.0.len(), MOST - RESERVED);
            let kept = fill(&mut waits, &mut link, &root, std::iter::repeat(7)).await;
            assert_eq!(kept.len(), RESERVED);
        });
    }

    #[test]
    fn who_has_left_holds_a_place_only_while_his_test_runs() {
        block_on(async {
            let mut link = link();
            let mut waits = Waits::default();
            let ulids = UlidPair { local: Ulid(pair(1).local.0), peer: Ulid(pair(1).peer.0) };
            let (context, longest) = (ContextId(7), Duration::from_secs(60));
            for _ in 0..PER_CONTEXT {
                let (task, reply) = asked(&link.0, &mut link.1).await;
                waits.add(Awaited::Check { ulids, context, longest }, &WHO, reply, Time::ZERO);
                task.abort();
                assert!(task.await.unwrap_err().is_cancelled());
            }
            assert_eq!(waits.check_room(&WHO, Some(context)), Ok(()));
            assert_eq!(waits.0.len(), 0);
            for task in fill(&mut waits, &mut link, &WHO, std::iter::repeat(7)).await {
                task.abort();
                assert!(task.await.unwrap_err().is_cancelled());
            }
            assert!(waits.check_room(&WHO, Some(context)).is_err(), "the probes go on");
            waits.expire(Time::ZERO + Duration::from_secs(3) * PER_CONTEXT as u32);
            assert_eq!(waits.check_room(&WHO, Some(context)), Ok(()));
        });
    }

    #[test]
    fn those_who_wait_are_told_that_the_daemon_stops() {
        block_on(async {
            let mut link = link();
            let mut waits = Waits::default();
            let tasks = fill(&mut waits, &mut link, &WHO, [7]).await;
            waits.finish();
            for task in tasks {
                assert_eq!(task.await.unwrap().unwrap_err().code, ErrorCode::Unavailable);
            }
        });
    }
}
