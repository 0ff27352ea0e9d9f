use super::*;
use std::sync::atomic::{AtomicBool, AtomicU64};

/// Both numbers are always the same, unless somebody looks at an element that changes hands.
#[derive(Default)]
struct Twin {
    refs: Refs,
    first: AtomicU64,
    second: AtomicU64,
}

// SAFETY: always the same field.
unsafe impl Counted for Twin {
    fn refs(&self) -> &Refs {
        &self.refs
    }
}

fn make(slab: &Slab<Twin>, number: u64) -> u32 {
    let (index, twin) = slab.take();
    twin.first.store(number, Relaxed);
    twin.second.store(number, Relaxed);
    slab.publish(index);
    index
}

#[test]
fn places_follow_each_other_without_a_gap() {
    let mut expected = (0, 0);
    for index in 0..10_000 {
        assert_eq!(place(index), expected, "{index}");
        expected.1 += 1;
        if expected.1 == (FIRST as usize) << expected.0 {
            expected = (expected.0 + 1, 0);
        }
    }
    assert!(place(u32::MAX).0 >= CHUNKS);
}

#[test]
fn an_element_is_used_again_when_nobody_holds_it() {
    let slab = Slab::<Twin>::default();
    assert!(slab.peek(0).is_none() && slab.acquire(0).is_none());
    let (index, _) = slab.take();
    assert!(slab.acquire(index).is_none(), "not published yet");
    slab.publish(index);
    let held = slab.acquire(index).unwrap();
    let too = held.clone();
    assert!(held.same(&too));
    slab.retire(index);
    slab.retire(index);
    assert!(slab.acquire(index).is_none());
    drop(held);
    let other = make(&slab, 5);
    assert_ne!(other, index, "still held");
    assert!(!too.same(&slab.acquire(other).unwrap()));
    drop(too);
    assert_eq!(make(&slab, 6), index);
    assert_eq!((slab.made(), slab.live().count()), (2, 2));
}

#[test]
fn a_reference_outlives_the_slab() {
    let slab = Slab::<Twin>::default();
    for n in 0..1000 {
        make(&slab, n);
    }
    let held = slab.acquire(777).unwrap();
    drop(slab);
    assert_eq!(held.first.load(Relaxed), 777);
    drop(held.clone());
}

#[test]
fn an_element_never_changes_while_it_is_held() {
    const ELEMENTS: u32 = 48;
    const TURNS: u32 = 20_000;
    let slab = Slab::<Twin>::default();
    for n in 0..ELEMENTS {
        make(&slab, u64::from(n));
    }
    let done = AtomicBool::new(false);
    let held = std::thread::scope(|s| {
        let readers = [0, 1, 2].map(|start| {
            let (slab, done) = (&slab, &done);
            s.spawn(move || {
                let (mut held, mut index) = (0u64, start);
                while !done.load(Relaxed) || held == 0 {
                    index = (index + 7) % slab.made();
                    let Some(twin) = slab.acquire(index) else { continue };
                    let first = twin.first.load(Relaxed);
                    let copy = twin.clone();
                    drop(twin);
                    std::hint::spin_loop();
                    assert_eq!(copy.second.load(Relaxed), first);
                    held += 1;
                }
                held
            })
        });
        for turn in 0..TURNS {
            slab.retire(turn % slab.made());
            make(&slab, u64::from(ELEMENTS + turn));
        }
        done.store(true, Relaxed);
        readers.map(|r| r.join().unwrap())
    });
    assert!(held.iter().all(|n| *n > 0));
    // A turn that meets one that is gone already, because it is held, adds one.
    assert!(slab.made() < TURNS / 4, "elements are used again: {}", slab.made());
}
