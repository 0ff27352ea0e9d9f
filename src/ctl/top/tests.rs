//! The display without a daemon: looks and keys in, lines of the screen and requests out.

use super::model::{Model, Outcome};
use super::*;
use crate::addr::{ContextTag, Fii, Generation, Locator, Ulid};
use crate::control::api::Event as Happened;
use crate::control::api::*;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

fn at(network: u16, last: u16) -> Locator {
    Locator([0x2001, 0xdb8, network, 0, 0, 0, 0, last].into())
}

fn pair(network: u16) -> Pair {
    Pair { local: at(network, 0xa), peer: at(network, 0xb) }
}

fn line(id: u64, octets_out: u64) -> ContextSummary {
    ContextSummary {
        id: ContextId(id),
        ulid_local: Ulid(at(1, 0xa).0),
        ulid_peer: Ulid(at(1, 0xb).0),
        fii: Fii(id as u32 - 1),
        state: ContextState::Established,
        reap_state: Some(ReapState::Operational),
        role: Role::Initiator,
        current: pair(id as u16),
        tagged: id > 1,
        local_tag: ContextTag::from_masked(id),
        peer_tag: None,
        age_ms: 61_000,
        last_out_ms: None,
        last_in_ms: None,
        rtt_us: Some(20_450),
        octets_out,
        octets_in: 0,
    }
}

fn listed(locator: Locator) -> LocatorInfo {
    LocatorInfo {
        locator,
        ulid: false,
        current: false,
        method: Verification::Hba,
        verified: true,
        reachable: None,
        broken: false,
        transient: false,
        priority: None,
        weight: None,
    }
}

fn detail(id: u64) -> ContextInfo {
    ContextInfo {
        summary: line(id, 0),
        local_locators: vec![listed(at(1, 0xa)), listed(at(2, 0xa))],
        peer_locators: vec![listed(at(1, 0xb)), listed(at(2, 0xb))],
        local_generation: Generation(1),
        peer_generation: None,
        pairs: vec![PairInfo {
            pair: pair(2),
            works: Some(true),
            probed_ms: Some(1500),
            rtt_us: Some(900),
        }],
        pinned: Some(pair(2)),
        preferred: None,
        standby: Some(pair(1)),
        timers: ContextTimers::default(),
        counters: ContextCounters::default(),
        restored: false,
    }
}

fn status() -> StatusInfo {
    StatusInfo {
        version: "9.9".into(),
        failures: FailuresInfo { detection: "fast".into(), ..FailuresInfo::default() },
        contexts: [("ESTABLISHED".to_owned(), 2)].into(),
        ..StatusInfo::default()
    }
}

fn model() -> Model {
    let mut model = Model::default();
    let second = std::time::Duration::from_secs(1);
    model.see(Time::ZERO, status(), (vec![line(1, 0), line(2, 1000)], false));
    model.see(Time::ZERO + second, status(), (vec![line(1, 0), line(2, 3048)], false));
    model
}

fn press(model: &mut Model, code: KeyCode) -> Outcome {
    model.key(KeyEvent::new(code, KeyModifiers::NONE))
}

fn shown(model: &mut Model) -> String {
    let mut terminal = Terminal::new(TestBackend::new(120, 30)).unwrap();
    terminal.draw(|frame| draw::screen(frame, model)).unwrap();
    text_of(terminal.backend())
}

#[test]
fn the_screen_shows_contexts_paths_rates_and_events() {
    let mut model = model();
    let kind = EventKind::PathSwitched { from: pair(1), to: pair(2), after_ms: 520 };
    model.note(&Happened { seq: 1, at_ms: 12_345, context: Some(ContextId(2)), kind });
    assert_eq!(press(&mut model, KeyCode::Down), Outcome::Look);
    model.see_detail(Some(detail(2)));
    let text = shown(&mut model);
    for wanted in [
        "shim6d 9.9",
        "rules MISSING",
        "detection fast, no hot standby",
        "contexts 2 ESTABLISHED",
        "out 2.0 KiB/s",
        "contexts: 2",
        "forked",
        "context 2, forked instance 1",
        "2001:db8:2::a → 2001:db8:2::b",
        "on the ULIDs",
        "Operational",
        "20.45 ms",
        "1 min",
        "ours 2 of 2",
        "pinned to 2001:db8:2::a",
        "1.5 s ago",
        "12.345      #2  switched to 2001:db8:2::a -> 2001:db8:2::b after 520 ms",
        "q quit",
    ] {
        assert!(text.contains(wanted), "{wanted} in\n{text}");
    }
    model.away = Some("no shim6d answers".into());
    assert!(shown(&mut model).contains("no shim6d answers"));
    let mut empty = Model::default();
    assert!(shown(&mut empty).contains("contexts: 0"));
}

#[test]
fn keys_ask_for_what_they_say() {
    let mut model = model();
    let context = ContextRef::Id { id: ContextId(1) };
    assert_eq!(
        press(&mut model, KeyCode::Char('e')),
        Outcome::Ask(Request::PathExplore { context })
    );
    assert_eq!(press(&mut model, KeyCode::Char('u')), Outcome::Ask(Request::PathUnpin { context }));
    assert_eq!(press(&mut model, KeyCode::Char('s')), Outcome::Nothing, "nothing is known of it");
    assert!(model.chooser.is_none());
    model.see_detail(Some(detail(1)));
    press(&mut model, KeyCode::Char('s'));
    assert!(shown(&mut model).contains("packets of context 1 go by"));
    // The pairs: 1-1 (in use), 1-2, 2-1, 2-2.
    press(&mut model, KeyCode::Down);
    let crossed = Pair { local: at(1, 0xa), peer: at(2, 0xb) };
    let test = Outcome::Ask(Request::PathTest { context, pair: crossed });
    assert_eq!(press(&mut model, KeyCode::Char('t')), test);
    for _ in 0..9 {
        press(&mut model, KeyCode::Down);
    }
    let switch = Request::PathSwitch { context, pair: pair(2), keep: Keep::No };
    assert_eq!(press(&mut model, KeyCode::Enter), Outcome::Ask(switch));
    assert!(model.chooser.is_none());
    press(&mut model, KeyCode::Char('s'));
    let pin = Request::PathSwitch { context, pair: pair(1), keep: Keep::Pin };
    assert_eq!(press(&mut model, KeyCode::Char('p')), Outcome::Ask(pin));
    press(&mut model, KeyCode::Char('s'));
    press(&mut model, KeyCode::Esc);
    assert!(model.chooser.is_none());
    assert_eq!(press(&mut model, KeyCode::Char('q')), Outcome::Quit);
    let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert_eq!(model.key(interrupt), Outcome::Quit);
}

#[test]
fn the_selection_follows_its_context() {
    let mut model = model();
    press(&mut model, KeyCode::PageDown);
    assert_eq!(model.selected(), Some(ContextId(2)));
    model.see(Time::ZERO, status(), (vec![line(2, 0), line(3, 0)], false));
    assert_eq!((model.selected(), model.rows.selected()), (Some(ContextId(2)), Some(0)));
    model.see(Time::ZERO, status(), (vec![line(5, 0)], true));
    assert_eq!(model.selected(), Some(ContextId(5)));
    model.see(Time::ZERO, status(), (Vec::new(), false));
    assert_eq!(model.selected(), None);
    assert_eq!(press(&mut model, KeyCode::Down), Outcome::Nothing);
    assert_eq!(press(&mut model, KeyCode::Char('e')), Outcome::Nothing);
}
