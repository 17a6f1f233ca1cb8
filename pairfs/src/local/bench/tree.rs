//! `put -r` and `get -r` of a tree: the commands themselves, as a person starts them.

use super::report::{Line, Unit};
use super::{Bench, median, noise};
use crate::local::program::Program;
use crate::local::up::blocking;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;
use types::{Code, Error, Result};

/// A line is the median of so many runs.
const RUNS: usize = 5;
/// Files of the tree.
const FILES: usize = 2600;
/// Folders they are in.
const FOLDERS: usize = 26;

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// To the cluster.
    Put,
    /// From it.
    Get,
}

impl Way {
    pub(super) fn name(self) -> &'static str {
        match self {
            Way::Put => "put",
            Way::Get => "get",
        }
    }
}

/// Measures one way; the floor is `cp -a` of the same tree on the same disk with a sync at its end.
pub(super) async fn measure(bench: &Bench, name: String, way: Way) -> Result<Line> {
    let place = bench.folder.join("tree");
    let (source, at) = (place.join("source"), place.clone());
    blocking(move || grow(&at.join("source"))).await?;
    let (mut times, mut floors) = (Vec::new(), Vec::new());
    let program = Program::new(bench.cluster.dir())?;
    if way == Way::Get {
        put(&program, &source, "/tree-get").await?;
        bench.wait_settled().await?;
    }
    for run in 0..RUNS {
        let (from, to) = (source.clone(), place.join("copy"));
        floors.push(blocking(move || copy(&from, &to)).await?);
        let begin = Instant::now();
        match way {
            Way::Put => {
                put(&program, &source, &format!("/tree-put-{run}")).await?;
                times.push(super::load::clock_with_lag(&bench.client, begin).await?.as_secs_f64() * 1e3);
            }
            Way::Get => {
                let (program, got) = (program.clone(), place.join("got"));
                times.push(blocking(move || get(&program, &got)).await?);
            }
        }
    }
    blocking(move || std::fs::remove_dir_all(place).map_err(Error::from)).await?;
    let line = Line::new(name, Unit::Milliseconds, median(&mut times));
    Ok(line.floor("cp -a and sync here", median(&mut floors)))
}

async fn put(program: &Program, source: &Path, remote: &str) -> Result<()> {
    let (program, source, remote) = (program.clone(), source.display().to_string(), remote.to_owned());
    blocking(move || program.run(&["-q", "put", "-r", &source, &remote]).map(drop)).await
}

fn get(program: &Program, to: &Path) -> Result<f64> {
    let begin = Instant::now();
    program.run(&["-q", "get", "-r", "/tree-get", &to.display().to_string()])?;
    let took = begin.elapsed().as_secs_f64() * 1e3;
    std::fs::remove_dir_all(to).map_err(Error::from)?;
    Ok(took)
}

fn copy(from: &Path, to: &Path) -> Result<f64> {
    let begin = Instant::now();
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status().map_err(Error::from)?;
    if !status.success() {
        return Err(Error::new(Code::Failed, "`cp -a` failed", "is there room on the disk?"));
    }
    let place = std::fs::File::open(to).map_err(Error::from)?;
    rustix::fs::syncfs(place).map_err(|error| Error::from(std::io::Error::from(error)))?;
    let took = begin.elapsed().as_secs_f64() * 1e3;
    std::fs::remove_dir_all(to).map_err(Error::from)?;
    Ok(took)
}

/// Bytes of a file: most are small, most bytes are in a few.
fn size(number: usize) -> usize {
    match number % 100 {
        0 => 2_000_000,
        1..=9 => 300_000,
        10..=39 => 30_000,
        _ => 6_667,
    }
}

/// Makes the tree: 156 MB.
fn grow(source: &Path) -> Result<()> {
    for number in 0..FILES {
        let folder: PathBuf = source.join(format!("d{}", number % FOLDERS)).join(format!("e{}", number % 10));
        std::fs::create_dir_all(&folder).map_err(Error::from)?;
        let content = noise(1000 + number as u64, size(number));
        std::fs::write(folder.join(format!("f{number}")), content).map_err(Error::from)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_is_the_one_that_is_promised() {
        let bytes: usize = (0..FILES).map(size).sum();
        assert_eq!(bytes / 1_000_000, 156);
    }
}
