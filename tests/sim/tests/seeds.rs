//! Some seeds in each run of the tests; many more by hand (docs/testing.md).

#![allow(clippy::unwrap_used)]

use std::process::{Command, Output};

fn sim(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sim")).args(args).output().unwrap()
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Simulates so many seeds from `first` on, under at least so many faults.
fn assert_holds(first: u64, seeds: u64, calm: &str, least: u64) {
    let (first, count) = (first.to_string(), seeds.to_string());
    let output = sim(&["--seed", &first, "--seeds", &count, "--steps", "4000", "--calm", calm]);
    let told = told(&output);
    assert!(output.status.success(), "{told}");
    // Something has happened: a simulation in which nobody asks and nothing fails proves nothing.
    let sum = told.lines().last().unwrap();
    let numbers: Vec<u64> = sum.split([' ', ',']).filter_map(|word| word.parse().ok()).collect();
    let [told_seeds, _, faults, asked, done, ..] = numbers[..] else { panic!("{sum}") };
    assert_eq!(told_seeds, seeds, "{sum}");
    assert!(faults > least && asked > 100 * seeds && done * 2 > asked, "{sum}");
}

#[test]
fn under_faults_from_seeds_nothing_acknowledged_is_lost_and_the_copies_come_together() {
    assert_holds(1, 10, "1500", 10);
}

#[test]
#[ignore = "takes minutes: .ci/run has a section for it"]
fn under_faults_from_some_hundred_seeds_nothing_acknowledged_is_lost() {
    assert_holds(101, 200, "500", 500);
}

#[test]
fn two_runs_of_a_seed_are_the_same() {
    let output = sim(&["--seeds", "2", "--seed", "7", "--steps", "2500", "--calm", "800", "--twice"]);
    assert!(output.status.success(), "{}", told(&output));
}

#[test]
fn a_seed_that_is_simulated_again_shows_what_happened() {
    let output = sim(&["--seed", "3", "--steps", "1500", "--calm", "300", "--timeline", "--log", "info"]);
    let told = told(&output);
    assert!(output.status.success(), "{told}");
    assert!(
        told.contains("fault: ") && told.contains("nm::grants") && told.contains("everything is mended"),
        "{told}"
    );
}

#[test]
fn every_scripted_interleaving_ends_as_its_rule_says() {
    let output = sim(&["--scenario", "all"]);
    let told = told(&output);
    assert!(output.status.success(), "{told}");
}
