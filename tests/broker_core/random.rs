//! The fuzz target's body over random steps, as an ordinary test.
//!
//! The seed is new in each run and printed; `FIELDGATE_SEED=number` repeats a run, `FIELDGATE_INPUTS=number` makes it
//! longer or shorter.

use super::steps;

const INPUTS: u64 = 4_000;
const BYTES_MAX: usize = 600;

fn number(name: &str) -> Option<u64> {
    let given = std::env::var(name).ok();
    given.map(|it| it.parse().expect("a number"))
}

#[test]
fn whatever_clients_do_the_core_keeps_its_word() {
    let first = number("FIELDGATE_SEED").unwrap_or_else(|| fastrand::u64(..) >> 16);
    println!("FIELDGATE_SEED={first}");
    for seed in first..first + number("FIELDGATE_INPUTS").unwrap_or(INPUTS) {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut input = vec![0; random.usize(..BYTES_MAX)];
        random.fill(&mut input);
        let outcome = std::panic::catch_unwind(|| steps::check(&input));
        assert!(
            outcome.is_ok(),
            "FIELDGATE_SEED={seed} FIELDGATE_INPUTS=1 repeats it"
        );
    }
}
