use super::*;

const KEY: &[u8] =
    b"what follows the nine zero octets, over one block of SHA-1 input long, as keys are";

fn threads(n: usize) -> NonZeroUsize {
    NonZeroUsize::new(n).unwrap()
}

fn go_on(_: u64) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// The search in its plainest form.
fn by_hand(start: u128) -> u128 {
    let mut modifier = start;
    loop {
        let octets = [&modifier.to_be_bytes()[..], &[0; 9], KEY].concat();
        if openssl::sha::sha1(&octets)[..2] == [0, 0] {
            return modifier;
        }
        modifier = modifier.wrapping_add(1);
    }
}

// req-test: HB-6-07, CG-4-01
#[test]
fn the_first_fitting_modifier_is_found_however_many_search() {
    for start in [0, 0x5eed << 64, u128::MAX - 10] {
        let expected = by_hand(start).to_be_bytes();
        for n in [1, 2, 5] {
            let found =
                find_modifier(start.to_be_bytes(), KEY, Sec::ONE, threads(n), &mut go_on).unwrap();
            assert_eq!(found, expected, "start {start:x}, {n} threads");
        }
    }
}

// req-test: HB-6-07
#[test]
fn the_modifier_wraps_past_its_end() {
    let start = u128::MAX - 10;
    let found = find_modifier(start.to_be_bytes(), KEY, Sec::ONE, threads(2), &mut go_on).unwrap();
    assert!(u128::from_be_bytes(found) < start);
}

#[test]
fn a_fitting_start_is_the_result() {
    let start = by_hand(7).to_be_bytes();
    assert_eq!(find_modifier(start, KEY, Sec::ONE, threads(2), &mut go_on), Ok(start));
    assert_eq!(find_modifier([3; 16], KEY, Sec::ZERO, threads(2), &mut go_on), Ok([3; 16]));
}

#[test]
fn progress_counts_up_and_stops_the_search() {
    let mut seen = Vec::new();
    let result = find_modifier([0; 16], KEY, Sec::TWO, threads(2), &mut |tried| {
        seen.push(tried);
        if seen.len() == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert_eq!(result, Err(Stopped));
    assert_eq!(seen.len(), 3);
    assert!(seen.is_sorted() && seen[0] >= CHUNK);
}
