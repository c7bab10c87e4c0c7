//! The fuzz target's body over damaged packets and plain noise, as an ordinary test.
//!
//! The seed is new in each run and printed; `FIELDGATE_SEED=number` repeats a run.

use bytes::BytesMut;
use fieldgate::mqtt::ProtocolVersion;
use proptest::collection::vec;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::{decode, mutate, packets};

const INPUTS: usize = 20_000;

fn seed() -> u64 {
    let given = std::env::var("FIELDGATE_SEED").ok();
    let seed = given.map_or_else(|| fastrand::u64(..), |it| it.parse().expect("a number"));
    println!("FIELDGATE_SEED={seed}");
    seed
}

#[test]
fn any_bytes_leave_the_decoder_sound() {
    let mut random = fastrand::Rng::with_seed(seed());
    let mut key = [0; 32];
    random.fill(&mut key);
    let key = TestRng::from_seed(RngAlgorithm::ChaCha, &key);
    let mut runner = TestRunner::new_with_rng(Config::default(), key);
    for _ in 0..INPUTS / 20 {
        let version = random.usize(..3);
        let valid = stream(ProtocolVersion::ALL[version])
            .new_tree(&mut runner)
            .unwrap()
            .current();
        for round in 0..20 {
            // Every other input is told the version that it is of.
            let choice = random.u8(..);
            let known = choice & !3 | u8::try_from(version + 1).unwrap();
            let mut input = vec![if round % 2 == 0 { known } else { choice }];
            input.extend_from_slice(&valid);
            match round {
                0 => {}
                1 => random.fill(&mut input[1..]),
                _ => {
                    for _ in 0..random.usize(1..4) {
                        damage(&mut random).apply(&mut input);
                    }
                }
            }
            decode::check(&input);
        }
    }
}

/// A few packets, one after another.
fn stream(version: ProtocolVersion) -> impl Strategy<Value = Vec<u8>> {
    vec(packets::packet(version), 1..4).prop_map(move |packets| {
        let mut out = BytesMut::new();
        for packet in packets {
            packet.encode(version, &mut out).unwrap();
        }
        out.to_vec()
    })
}

fn damage(random: &mut fastrand::Rng) -> mutate::Damage {
    let at = random.usize(..1000);
    match random.u8(..5) {
        0 => mutate::Damage::Set(at, random.u8(..)),
        1 => mutate::Damage::Flip(at, random.u8(..)),
        2 => mutate::Damage::Insert(at, random.u8(..0x2C)),
        3 => mutate::Damage::Remove(at),
        _ => mutate::Damage::Cut(at),
    }
}
