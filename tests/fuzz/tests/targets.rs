//! Every target over its kept inputs, and over mutations of these.
//!
//! The same inputs each time; `PAIRFS_FUZZ_SEED=N` and `PAIRFS_FUZZ_ROUNDS=N` (in units of the cheapest target) draw others,
//! and more. An input that fails is written to a file; `PAIRFS_FUZZ_INPUT=FILE` runs a target on that alone.

use pairfs_fuzz::corpus::{folder, kept};
use pairfs_fuzz::{TARGETS, Target, mutate, named, numbers};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Rounds of a target that costs 1.
const ROUNDS: u64 = 20_000;
/// One input takes milliseconds; on a machine that is busy, more.
const HANGS: Duration = Duration::from_secs(120);
/// Address space of all targets together, in bytes: far more than they take, far less than a length in an input can ask for.
const ROOM: u64 = 16 << 30;

fn from_environment(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(usual)
}

/// Where an input is put, so that it can be looked at after whatever it does.
fn file_of(target: &Target, input: &[u8]) -> PathBuf {
    let mut hasher = DefaultHasher::new();
    input.hash(&mut hasher);
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{:016x}", target.name, hasher.finish()))
}

fn tell(target: &Target, input: &[u8], what: &str) {
    let file = file_of(target, input);
    std::fs::write(&file, input).expect("an input can be written");
    eprintln!(
        "{} {what}; again: PAIRFS_FUZZ_INPUT={} cargo test -p pairfs-fuzz --test targets {}\n\
         keep it: cp it to {}",
        target.name,
        file.display(),
        target.name,
        folder(target.name).display()
    );
}

/// The input that is under way, and since when.
type UnderWay = Arc<Mutex<Option<(Vec<u8>, Instant)>>>;

/// Ends the program when an input takes too long: nothing else ends an endless loop.
fn watch(target: &'static Target) -> UnderWay {
    let under_way = UnderWay::default();
    let watched = Arc::downgrade(&under_way);
    std::thread::spawn(move || {
        while let Some(watched) = watched.upgrade() {
            if let Some((input, since)) = &*watched.lock().unwrap()
                && since.elapsed() > HANGS
            {
                tell(target, input, "hangs");
                std::process::abort();
            }
            drop(watched);
            std::thread::sleep(Duration::from_secs(1));
        }
    });
    under_way
}

fn run(target: &Target, under_way: &UnderWay, input: &[u8]) {
    *under_way.lock().unwrap() = Some((input.to_vec(), Instant::now()));
    let ran = catch_unwind(AssertUnwindSafe(|| (target.run)(input)));
    *under_way.lock().unwrap() = None;
    if let Err(panic) = ran {
        tell(target, input, "fails");
        resume_unwind(panic);
    }
}

fn bound_memory() {
    let most = getrlimit(Resource::As).maximum;
    let current = Some(most.map_or(ROOM, |most| most.min(ROOM)));
    setrlimit(Resource::As, Rlimit { current, maximum: most }).expect("a process may bound itself");
}

fn all(name: &str) {
    bound_memory();
    let target = named(name);
    let under_way = watch(target);
    if let Some(file) = std::env::var_os("PAIRFS_FUZZ_INPUT") {
        return run(target, &under_way, &std::fs::read(file).expect("the input"));
    }
    let corpus: Vec<Vec<u8>> = kept(name).into_iter().map(|(_, input)| input).collect();
    assert!(!corpus.is_empty(), "nothing is kept in {}", folder(name).display());
    run(target, &under_way, &[]);
    for input in &corpus {
        run(target, &under_way, input);
    }
    let rounds = from_environment("PAIRFS_FUZZ_ROUNDS", ROUNDS) / u64::from(target.cost);
    let mut random = fastrand::Rng::with_seed(from_environment("PAIRFS_FUZZ_SEED", 1));
    let begin = Instant::now();
    for _ in 0..rounds {
        run(target, &under_way, &mutate::draw(&mut random, &corpus, target));
    }
    eprintln!("{name}: {} kept, {rounds} drawn in {:?}", corpus.len(), begin.elapsed());
}

/// Each number of each kept input at each of its ends: a minute or two, so not with every run of the tests.
#[test]
#[ignore = "takes minutes"]
fn each_number_at_its_ends() {
    bound_memory();
    let mut failed = 0;
    for target in TARGETS {
        let (under_way, mut runs) = (watch(target), 0);
        for (_, input) in kept(target.name) {
            for which in 0..numbers::count(target, &input) {
                for end in numbers::ENDS {
                    let input = numbers::set(target, &input, which, end);
                    failed += usize::from(catch_unwind(|| run(target, &under_way, &input)).is_err());
                    runs += 1;
                }
            }
        }
        eprintln!("{}: {runs}", target.name);
    }
    assert_eq!(failed, 0, "so many fail, each told above");
}

macro_rules! tests {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            all(stringify!($name));
        })*

        #[test]
        fn every_target_is_run() {
            let run = [$(stringify!($name)),*];
            let all: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
            assert_eq!(all, run);
        }
    };
}

tests! {
    frame server_port client_port message capability text small_file journal_record journal index_entry log_damage
    log_segment raft_record raft_log state
}

#[test]
fn what_is_kept_is_small_and_belongs_to_a_target() {
    const MOST: u64 = 300 << 10;
    let corpora = folder("").read_dir().expect("there are kept inputs");
    let mut bytes = 0;
    for corpus in corpora {
        let corpus = corpus.unwrap();
        named(corpus.file_name().to_str().unwrap());
        let files = corpus.path().read_dir().unwrap();
        bytes += files.map(|file| file.unwrap().metadata().unwrap().len()).sum::<u64>();
    }
    assert!(bytes <= MOST, "{bytes} bytes are kept");
}
