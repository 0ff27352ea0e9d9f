use super::*;
use crate::dataplane::testing::read_meanwhile;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::{HashMap, HashSet};

fn found(index: &Index, hash: u32) -> HashSet<u32> {
    let mut all = HashSet::new();
    index.find(hash, |place| {
        all.insert(place);
        None::<()>
    });
    all
}

/// Keys with few hashes, many with the same one, against what a plain table says.
#[test]
fn it_holds_what_was_put_in_and_not_taken_out() {
    let mut rng = StdRng::seed_from_u64(7);
    for (hashes, most) in [(40, 200), (100_000, 4000)] {
        let index = Index::default();
        let mut model = HashMap::<u32, (u32, u32)>::new();
        let mut gone = Vec::new();
        for step in 0..24_000u32 {
            let hash = (rng.random_range(0..hashes) as u32).wrapping_mul(0x9e37_79b1);
            let grows = model.len() < most && (step / 6000).is_multiple_of(2);
            if grows || model.len() < 20 {
                index.insert(hash, step, |_| false);
                model.insert(step, (hash, step));
            } else if rng.random_ratio(1, 4) {
                // Another place in the stead of one that is there.
                let old = *model.values().next().unwrap();
                index.insert(old.0, step, |place| place == old.1);
                gone.extend(model.remove(&old.1));
                model.insert(step, (old.0, step));
            } else {
                let (hash, place) = *model.values().next().unwrap();
                index.remove(hash, place);
                index.remove(hash, place);
                gone.extend(model.remove(&place));
            }
            assert_eq!(index.len(), model.len());
            if step % 1500 == 0 {
                for (hash, place) in model.values() {
                    assert!(found(&index, *hash).contains(place), "{step}");
                }
                for (hash, place) in &gone {
                    assert!(!found(&index, *hash).contains(place), "{step}");
                }
            }
        }
    }
}

#[test]
fn places_use_little_memory_and_it_shrinks_by_and_by() {
    let index = Index::default();
    let key = |n: u32| index.hash(&n.to_ne_bytes());
    for n in 0..100_000 {
        index.insert(key(n), n, |_| false);
    }
    let size = || index.tables.load().present.len();
    assert!((133_333..=180_000).contains(&size()), "{}", size());
    for n in 0..99_900 {
        index.remove(key(n), n);
    }
    for n in 200_000..300_000 {
        index.insert(key(n), n, |_| false);
        index.remove(key(n), n);
    }
    assert!((99_900..100_000).all(|n| found(&index, key(n)).contains(&n)));
    assert_eq!(index.len(), 100);
}

#[test]
fn readers_find_what_is_there_while_the_table_grows() {
    let index = Index::default();
    let key = |n: u32| index.hash(&n.to_ne_bytes());
    for n in 0..300 {
        index.insert(key(n), n, |_| false);
    }
    read_meanwhile(
        || {
            for n in 0..300 {
                // One that is replaced is there by the old place or by the new one.
                let is_it = |p| (p == n || p == n + 1_000_000).then_some(());
                assert!(index.find(key(n), is_it).is_some(), "{n}");
            }
        },
        || {
            for n in 300..60_000 {
                index.insert(key(n), n, |_| false);
                if n % 3 != 0 {
                    index.remove(key(n), n);
                }
                let old = n % 300;
                let other = if (n / 300).is_multiple_of(2) { old } else { old + 1_000_000 };
                index.insert(key(old), other, |p| p % 1_000_000 == old);
            }
        },
    );
}
