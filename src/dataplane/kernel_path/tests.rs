use super::*;
use crate::addr::Flow as FlowName;
use crate::dataplane::Channels;
use crate::dataplane::testing::{config, plain, tagged, ulids};
use crate::proto::{Forward, ForwardChange, Notice, WakeOn};
use std::sync::Arc;

use std::collections::HashSet;
use tokio::sync::mpsc;

const TCP: u8 = protocol::TCP;
const UDP: u8 = protocol::UDP;

/// What is in the set, why it cannot be read, and keys of which no change gets through.
type Set = (HashMap<PairKey, PairCount>, Option<i32>, HashSet<PairKey>);

/// What the datagram counts that makes an element.
const FRESH: PairCount = PairCount { packets: 1, octets: 85 };

/// A kernel that is not there.
#[derive(Clone, Debug, Default)]
struct Kernel(Arc<Mutex<Set>>);

impl Kernel {
    fn pass(&self, out: bool, protocol: u8, packets: u64) {
        let [there, back] = keys((ulids(), protocol));
        let key = if out { there } else { back };
        let mut set = self.0.lock().unwrap();
        let count = set.0.get_mut(&key).expect("passes");
        count.packets += packets;
        count.octets += 1000 * packets;
    }

    fn len(&self) -> usize {
        self.0.lock().unwrap().0.len()
    }

    fn fail(&self, errno: Option<i32>) {
        self.0.lock().unwrap().1 = errno;
    }

    /// Of these keys no change gets through any more.
    fn deaf(&self, keys: &[PairKey]) {
        self.0.lock().unwrap().2 = keys.iter().copied().collect();
    }

    fn change(
        &self,
        key: PairKey,
        change: impl FnOnce(&mut HashMap<PairKey, PairCount>),
    ) -> Result<(), SetError> {
        let mut set = self.0.lock().unwrap();
        if set.2.contains(&key) {
            return Err(SetError::Failed("deaf".to_owned()));
        }
        change(&mut set.0);
        Ok(())
    }
}

impl PairSet for Kernel {
    fn enter(&mut self, key: PairKey) -> Result<PairCount, SetError> {
        self.change(key, |set| {
            set.entry(key).or_insert(FRESH);
        })?;
        Ok(FRESH)
    }

    fn leave(&mut self, key: PairKey) -> Result<(), SetError> {
        self.change(key, |set| {
            set.remove(&key);
        })
    }

    fn read(&mut self, each: &mut dyn FnMut(PairKey, PairCount)) -> Result<(), SetError> {
        let set = self.0.lock().unwrap();
        if let Some(errno) = set.1 {
            return Err(SetError::Failed(errno.to_string()));
        }
        set.0.iter().for_each(|(key, count)| each(*key, *count));
        Ok(())
    }
}

thread_local! {
    static CLOCK: std::cell::Cell<u64> = const { std::cell::Cell::new(1000) };
}

fn clock() -> Time {
    Time::from_millis(CLOCK.get())
}

struct Case {
    shared: Arc<Shared>,
    kernel: Kernel,
    notices: mpsc::Receiver<Notice>,
}

impl Case {
    fn new(forward: Forward) -> Case {
        CLOCK.set(1000);
        let (notices_in, notices) = mpsc::channel(8);
        let (control, _) = mpsc::channel(1);
        let shared = Shared::new(config(clock), Channels { notices: notices_in, control });
        let kernel = Kernel::default();
        shared.kernel_path.set(KernelPath::new(Box::new(kernel.clone()))).unwrap();
        shared.map.apply(&ForwardChange::Set(forward));
        Case { shared: Arc::new(shared), kernel, notices }
    }

    fn path(&self) -> &KernelPath {
        self.shared.kernel_path.get().unwrap()
    }

    fn entry(&self) -> EntryRef {
        self.shared.map.entry(plain().id).unwrap()
    }

    /// How many elements there are after trying to have a flow pass.
    fn enter(&self, protocol: u8) -> usize {
        self.path().enter(&self.shared, (self.entry(), protocol));
        self.kernel.len()
    }

    fn tick(&self) {
        CLOCK.set(CLOCK.get() + 50);
        self.path().tick(&mut self.path().lock(), &self.shared);
    }

    /// Carries out a change as the data plane does.
    fn change(&self, forward: Forward) {
        self.shared.map.apply(&ForwardChange::Set(forward));
        self.path().review(&self.shared, ulids(), false);
    }
}

#[test]
fn only_established_contexts_on_their_ulids_pass() {
    assert_eq!(Case::new(plain()).enter(TCP), 2);
    assert_eq!(Case::new(plain()).enter(UDP), 2);
    for not in [
        tagged(),
        Forward { hold: true, ..plain() },
        Forward { watch: true, ..plain() },
        Forward { wake: WakeOn::Any, ..plain() },
        Forward { inbound: Inbound::UnmapAndNotify, ..plain() },
        Forward { fii: Fii(5), ..plain() },
    ] {
        assert_eq!(Case::new(not.clone()).enter(TCP), 0, "{not:?}");
        let case = Case::new(plain());
        assert_eq!(case.enter(TCP) + case.enter(UDP), 6);
        if not.fii == Fii::DEFAULT && not.wake == WakeOn::Nothing {
            case.change(not.clone());
            assert_eq!(case.kernel.len(), 0, "{not:?}");
        }
    }
}

#[test]
fn a_context_that_is_gone_or_has_a_flow_of_its_own_does_not_pass() {
    let case = Case::new(plain());
    let entry = case.entry();
    assert_eq!(case.enter(TCP), 2);
    let flow = FlowName { protocol: UDP, ulids: ulids(), local_port: 1, peer_port: 2 };
    assert!(case.shared.map.bind_flow(flow, plain().id));
    case.tick();
    assert_eq!((case.kernel.len(), case.enter(TCP)), (0, 0));
    case.shared.map.flows.release(&flow);
    assert_eq!(case.enter(TCP), 2);
    case.shared.map.apply(&ForwardChange::Remove(plain().id));
    case.path().review(&case.shared, ulids(), false);
    case.path().enter(&case.shared, (entry, TCP));
    assert_eq!(case.kernel.len(), 0);
}

// req-test: RP-4.1-05, RP-4.1-07
#[test]
fn cells_are_fed_from_counters() {
    let case = Case::new(plain());
    case.enter(TCP);
    let activity = || case.shared.map.activity(plain().id).unwrap();
    assert_eq!(activity().packets_out, 0, "what made the element is no packet");
    // Both ways: answered, and we may owe an answer.
    case.kernel.pass(true, TCP, 20);
    case.kernel.pass(false, TCP, 10);
    case.tick();
    let a = activity();
    assert_eq!((a.packets_out, a.packets_in, a.octets_out, a.octets_in), (20, 10, 20_000, 10_000));
    let at = |ms| Some(Time::from_millis(ms));
    assert_eq!((a.last_out, a.last_in), (at(1050), at(1050)));
    assert_eq!((a.pending_out, a.pending_in), (None, at(1050)));
    // Out only: what waits does so since the reading before, and stays the oldest.
    for _ in 0..2 {
        case.kernel.pass(true, TCP, 20);
        case.tick();
        let a = activity();
        assert_eq!((a.pending_out, a.pending_in), (at(1050), None));
    }
    // An answer, then silence.
    case.kernel.pass(false, TCP, 1);
    case.tick();
    let a = activity();
    assert_eq!((a.pending_out, a.pending_in, a.last_in), (None, at(1150), at(1200)));
    case.tick();
    assert_eq!(activity(), a);
    assert_eq!(case.path().figures(), (1, 71));
}

#[test]
fn the_send_timer_s_first_packet_is_wrong_by_a_tick_at_most() {
    // The path dies after `n` milliseconds of questions and answers; the first question without an answer is known.
    for n in 100..160 {
        let case = Case::new(plain());
        case.enter(UDP);
        for ms in 0..n + 120 {
            CLOCK.set(1000 + ms);
            case.kernel.pass(true, UDP, 1);
            if ms < n {
                case.kernel.pass(false, UDP, 1);
            }
            if ms % 50 == 49 {
                case.path().tick(&mut case.path().lock(), &case.shared);
            }
        }
        case.path().tick(&mut case.path().lock(), &case.shared);
        let pending = case.shared.map.activity(plain().id).unwrap().pending_out.unwrap();
        assert!(pending.millis().abs_diff(1000 + n) <= 50, "{n}: {pending:?}");
    }
}

#[test]
fn tcp_without_an_answer_comes_back_to_the_queue_udp_stays() {
    let case = Case::new(plain());
    assert_eq!(case.enter(TCP) + case.enter(UDP), 6);
    for _ in 0..7 {
        case.kernel.pass(true, TCP, 20);
        case.kernel.pass(true, UDP, 20);
        case.tick();
    }
    assert_eq!(case.kernel.len(), 4, "350 ms after the last answer");
    case.kernel.pass(true, UDP, 20);
    case.tick();
    assert_eq!(case.kernel.len(), 2);
    assert!(case.path().lock().members.contains_key(&(ulids(), UDP)));
    // It is not called fast for a while.
    let pace = case.entry();
    let fast = |now| (0..64).any(|_| pace.cells.pace(TCP).note(now));
    assert!(!fast(clock()) && fast(clock() + STAY_OUT));
}

#[test]
fn slow_flows_come_back_to_the_queue() {
    let case = Case::new(plain());
    case.enter(UDP);
    for _ in 0..30 {
        case.kernel.pass(true, UDP, 1);
        case.kernel.pass(false, UDP, 1);
        case.tick();
    }
    assert_eq!(case.kernel.len(), 2, "20 packets in 500 ms");
    for _ in 0..11 {
        case.tick();
    }
    assert_eq!(case.kernel.len(), 0);
}

#[test]
fn a_wake_up_that_was_armed_meanwhile_goes_off() {
    let mut case = Case::new(plain());
    case.enter(TCP);
    case.shared.map.apply(&ForwardChange::Wake(plain().id, WakeOn::Inbound));
    case.kernel.pass(true, TCP, 1);
    case.path().refresh(&case.shared, &case.entry());
    assert!(case.notices.try_recv().is_err());
    CLOCK.set(CLOCK.get() + 10);
    case.kernel.pass(false, TCP, 1);
    case.path().refresh(&case.shared, &case.entry());
    assert!(matches!(case.notices.try_recv(), Ok(Notice::Active(id, _)) if id == plain().id));
}

#[test]
fn rules_that_were_taken_away_and_failures_end_the_passing() {
    let case = Case::new(plain());
    case.enter(TCP);
    case.kernel.0.lock().unwrap().0.clear();
    case.tick();
    assert_eq!(case.path().figures().0, 0);
    assert_eq!(case.enter(TCP), 2);
    case.kernel.fail(Some(libc::EINTR));
    for _ in 0..FAILURES - 1 {
        case.tick();
    }
    assert_eq!(case.path().figures().0, 1, "somebody loads rules");
    case.tick();
    assert_eq!((case.path().figures().0, case.kernel.len()), (0, 0));
    // An element that nobody answers for is taken out.
    case.kernel.fail(None);
    case.enter(TCP);
    let [mut foreign, _] = keys((ulids(), UDP));
    foreign.src = "2001:db8::99".parse().unwrap();
    case.kernel.clone().enter(foreign).unwrap();
    assert_eq!(case.kernel.len(), 3);
    case.tick();
    assert_eq!(case.kernel.len(), 2);
}

#[test]
fn flows_that_may_pass_are_bounded() {
    let case = Case::new(plain());
    for n in 0..FLOWS as u64 + 3 {
        let mut forward = Forward { id: ContextId(100 + n), ..plain() };
        forward.ulids.peer.0 =
            std::net::Ipv6Addr::from_bits(ulids().peer.0.to_bits() + 1 + u128::from(n));
        forward.local_tag = crate::addr::ContextTag::from_masked(n);
        case.shared.map.apply(&ForwardChange::Set(forward.clone()));
        let entry = case.shared.map.entry(forward.id).unwrap();
        case.path().enter(&case.shared, (entry, TCP));
    }
    assert_eq!(case.kernel.len(), 2 * FLOWS);
    assert_eq!(case.shared.counters.get(Counter::PassingFull), 3);
}

#[test]
fn half_a_flow_is_taken_out_of_the_set() {
    for lost in keys((ulids(), TCP)) {
        // The kernel has not taken one key, or lost it: without a word.
        let case = Case::new(plain());
        assert_eq!(case.enter(TCP), 2);
        case.kernel.0.lock().unwrap().0.remove(&lost);
        case.tick();
        assert_eq!((case.kernel.len(), case.path().figures().0), (0, 0));
        case.tick();
        assert!(case.path().lock().is_idle());
        // One could not be told.
        case.kernel.deaf(&[lost]);
        assert_eq!((case.enter(TCP), case.path().figures().0), (0, 0));
        case.kernel.deaf(&[]);
        assert!(!case.path().lock().is_idle(), "one more reading");
        case.tick();
        assert!(case.path().lock().is_idle());
        assert_eq!(case.enter(TCP), 2);
    }
}

#[test]
fn what_does_not_leave_the_set_is_swept_up_later() {
    for reviewed in [false, true] {
        let case = Case::new(plain());
        let all = keys((ulids(), UDP));
        assert_eq!(case.enter(UDP), 2);
        case.kernel.deaf(&all);
        case.change(tagged());
        assert_eq!((case.kernel.len(), case.path().figures().0), (2, 0));
        case.tick();
        assert!(case.kernel.len() == 2 && !case.path().lock().is_idle());
        // Nothing else comes in meanwhile: it would begin with old counts.
        case.shared.map.apply(&ForwardChange::Set(plain()));
        assert_eq!((case.enter(UDP), case.path().figures().0), (2, 0));
        case.kernel.deaf(&[]);
        if reviewed {
            case.change(tagged());
            assert_eq!(case.kernel.len(), 0, "at once");
        }
        case.tick();
        assert_eq!(case.kernel.len(), 0);
        case.tick();
        assert!(case.path().lock().is_idle());
        case.change(plain());
        assert_eq!((case.enter(UDP), case.path().figures().0), (2, 1));
    }
}

#[test]
fn nothing_is_lost_when_a_flow_leaves() {
    let case = Case::new(plain());
    case.enter(TCP);
    case.tick();
    // Sooner after a reading than anything else reads again.
    CLOCK.set(CLOCK.get() + 1);
    case.kernel.pass(true, TCP, 3);
    case.kernel.pass(false, TCP, 2);
    case.path().review(&case.shared, ulids(), true);
    let a = case.shared.map.activity(plain().id).unwrap();
    assert_eq!((a.packets_out, a.packets_in, a.octets_out, a.octets_in), (3, 2, 3000, 2000));
    // Nor is what passes before the first reading.
    case.enter(TCP);
    case.kernel.pass(true, TCP, 4);
    case.tick();
    assert_eq!(case.shared.map.activity(plain().id).unwrap().packets_out, 7);
}

#[test]
fn after_a_pause_nothing_waits_since_before_it() {
    let pending = |case: &Case| case.shared.map.activity(plain().id).unwrap().pending_out;
    let case = Case::new(plain());
    case.enter(TCP);
    case.tick();
    // Suspended for an hour.
    CLOCK.set(CLOCK.get() + 3_600_000);
    case.kernel.pass(true, TCP, 20);
    case.tick();
    assert_eq!(pending(&case), Some(clock() - PAUSE));
    // Readings that failed are no pause: since the last good one.
    let case = Case::new(plain());
    case.enter(TCP);
    case.tick();
    let good = clock();
    case.kernel.fail(Some(libc::EINTR));
    (0..10).for_each(|_| case.tick());
    case.kernel.fail(None);
    case.kernel.pass(true, TCP, 20);
    case.tick();
    assert_eq!(pending(&case), Some(good));
    // Nor has anything waited before its flow came in.
    let case = Case::new(plain());
    case.enter(TCP);
    case.tick();
    CLOCK.set(CLOCK.get() + 40);
    case.enter(UDP);
    let came = clock();
    case.kernel.pass(true, UDP, 20);
    CLOCK.set(CLOCK.get() + 10);
    case.path().tick(&mut case.path().lock(), &case.shared);
    assert_eq!(pending(&case), Some(came));
}

#[test]
fn what_workers_have_seen_in_the_meantime_counts() {
    let pending = |case: &Case| case.shared.map.activity(plain().id).unwrap().pending_out;
    let case = Case::new(plain());
    case.enter(TCP);
    case.tick();
    // An answer through the queue.
    case.kernel.pass(true, TCP, 20);
    case.entry().cells.touch_in(clock() + Duration::from_millis(20), 100);
    case.tick();
    assert_eq!(pending(&case), None);
    // None in the next.
    let since = clock();
    case.kernel.pass(true, TCP, 20);
    case.tick();
    assert_eq!(pending(&case), Some(since));
}

#[test]
fn who_would_have_to_wait_does_not_come_in() {
    let case = Case::new(plain());
    let reading = case.path().lock();
    assert_eq!(case.enter(TCP), 0);
    drop(reading);
    assert_eq!(case.enter(TCP), 2);
}
