use super::*;
use crate::dataplane::testing::{local_tag, locators, plain, read_meanwhile, tagged};
use crate::proto::Time;

#[test]
fn a_treatment_is_read_as_it_was_written() {
    let entry = Entry::default();
    let mut expected = Vec::new();
    for inbound in [Inbound::Unmap, Inbound::UnmapAndNotify, Inbound::Drop] {
        for wake in [WakeOn::Nothing, WakeOn::Any, WakeOn::Inbound] {
            for (hold, watch) in [(false, false), (true, false), (false, true)] {
                for base in [plain(), tagged()] {
                    expected.push(Forward { inbound, wake, hold, watch, ..base });
                }
            }
        }
    }
    expected.push(Forward { fii: Fii(u32::MAX), id: ContextId(u64::MAX), ..tagged() });
    for forward in expected {
        entry.begin(&forward);
        assert_eq!(entry.forward(), forward);
        assert_eq!((entry.id(), entry.ulids()), (forward.id, forward.ulids));
        assert_eq!((entry.fii(), entry.local_tag()), (forward.fii, local_tag()));
        assert_eq!(entry.outbound(), forward.outbound);
    }
}

#[test]
fn nothing_is_left_of_the_context_before() {
    let entry = Entry::default();
    entry.begin(&Forward { wake: WakeOn::Any, ..tagged() });
    let (cells, now) = (&entry.cells, Time::from_secs(5));
    cells.touch_out(now, 100);
    cells.touch_in(now, 100);
    cells.look();
    cells.set_held(3);
    cells.received_tagged(locators());
    cells.signs().packet_out(now);
    cells.signs().segment_out(now, (1, 2), 500, false);
    assert!(cells.may_make_too_big(now) && cells.may_tell_setup(now));
    assert!(cells.may_tell_refused(now) && cells.may_tell_failed(now));
    for _ in 0..40 {
        cells.pace(6).note(now);
    }
    cells.pace(6).pause(Time::from_secs(1000));
    entry.begin(&plain());
    assert_eq!(cells.activity(), super::super::cells::Cells::default().activity());
    assert_eq!((cells.held(), cells.received(), cells.measures()), (0, None, false));
    assert!(!cells.is_armed() && !cells.arm(WakeOn::Any));
    assert!(cells.may_make_too_big(now) && cells.may_tell_setup(now));
    assert!(cells.may_tell_refused(now) && cells.may_tell_failed(now));
    assert!((0..64).any(|_| cells.pace(6).note(now)));
}

#[test]
fn readers_never_see_half_of_a_change() {
    let entry = Entry::default();
    let pair = |n: u16| {
        let at = |side| Locator(Ipv6Addr::new(0x2001, 0xdb8, n, n, n, n, n, side));
        LocatorPair { local: at(1), peer: at(2) }
    };
    let forward = |n: u16| Forward {
        local_tag: ContextTag::from_masked(u64::from(n)),
        outbound: Outbound::Tagged(pair(n), ContextTag::from_masked(u64::from(n))),
        hold: n.is_multiple_of(2),
        ..plain()
    };
    entry.begin(&forward(0));
    read_meanwhile(
        || {
            let seen = entry.forward();
            assert_eq!(seen, forward(seen.local_tag.value() as u16));
        },
        || (0..60_000).for_each(|n| entry.publish(&forward(n))),
    );
}
