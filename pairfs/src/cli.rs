//! The command line: every command, its options and the help that groups them.

use crate::commands::{
    aside, config, content, copy, durability, entries, events, find, fsck, listing, pair, scrub, status,
    transfer,
};
use crate::local::{BenchArgs, NodeArgs, UpArgs};
use crate::options::Global;
use clap::{Parser, Subcommand};

/// The commands by what they are for. A test compares it with what there is.
const GROUPS: &str = "\
Run it
  up          Start a cluster on this machine: a name manager and pairs of storage servers
  down        Stop what runs in a folder
  node        Start, stop or kill one member of such a cluster
  demo        See it work: write, kill, read on, bring back, compare
  bench       Measure it on this machine
  nm          Run a name manager
  ss          Run a storage server

Files
  create      Make an empty file
  write       Write a file
  read        Read a file (also: cat)
  stream      Read a file word by word
  put         Put local files and folders into the cluster
  get         Get files and folders from the cluster
  ls          List a folder (also: view)
  info        Show everything about a file or folder (also: stat)
  mkdir       Make a folder
  find        Find names by a pattern
  cp          Copy a file within the cluster; the copy takes no room
  mv          Move a file or folder
  rm          Remove a file or folder
  durability  Show or set how durable the writes below a folder are
  digest      Show the digest of a local file

Look after it
  status      Show servers and pairs
  events      Show what happened
  pair        Hand a pair over to its other member
  df          Show what the files take, and the room left
  doctor      Check this machine, the configuration and the cluster; say what to fix
  fsck        Compare the index and both copies
  scrub       Compare both copies with their digests, and repair what is bad from the good one
  aside       List or give up what servers hold and the index does not know
  env         Show what other programs need to connect
  config      Show the settings, of the servers too, and where each came from
  help        Show the help of a command";

const TEMPLATE: &str = "\
{about}

{usage-heading} {usage}

{before-help}{options}

`pairfs help COMMAND` tells more about a command. Paths are /folder/name; the leading '/' may be left out.
Exit status: 0 done, 1 failed, 2 wrong usage, 3 not found, 4 exists or changed, 5 not permitted,
6 unavailable, 7 damaged.
";

/// A replicated file store: every storage server has a backup that takes over.
#[derive(Parser, Debug)]
#[command(
    name = "pairfs",
    version,
    help_template = TEMPLATE,
    before_help = GROUPS,
    max_term_width = 100,
    arg_required_else_help = true,
    subcommand_value_name = "COMMAND"
)]
pub struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub global: Global,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Start a cluster on this machine: a name manager and pairs of storage servers
    Up(UpArgs),
    /// Stop what runs in a folder
    Down,
    /// Start, stop or kill one member of such a cluster
    Node(NodeArgs),
    /// See it work: write, kill, read on, bring back, compare
    Demo,
    /// Measure it on this machine
    Bench(BenchArgs),
    /// Run a name manager
    Nm(nm::Config),
    /// Run a storage server
    Ss(ss::Config),
    /// Make an empty file
    Create(entries::CreateArgs),
    /// Write a file
    Write(content::WriteArgs),
    /// Read a file
    #[command(visible_alias = "cat")]
    Read(content::ReadArgs),
    /// Read a file word by word
    Stream(content::StreamArgs),
    /// Put local files and folders into the cluster
    Put(transfer::PutArgs),
    /// Get files and folders from the cluster
    Get(transfer::GetArgs),
    /// List a folder
    #[command(visible_alias = "view")]
    Ls(listing::LsArgs),
    /// Show everything about a file or folder
    #[command(visible_alias = "stat")]
    Info(listing::InfoArgs),
    /// Make a folder
    Mkdir(entries::MkdirArgs),
    /// Find names by a pattern
    Find(find::FindArgs),
    /// Copy a file within the cluster; the copy takes no room
    Cp(copy::CpArgs),
    /// Move a file or folder
    Mv(entries::MvArgs),
    /// Remove a file or folder
    Rm(entries::RmArgs),
    /// Show or set how durable the writes below a folder are
    Durability(durability::DurabilityArgs),
    /// Show the digest of a local file
    Digest(content::DigestArgs),
    /// Show servers and pairs
    Status(status::StatusArgs),
    /// Show what happened
    Events(events::EventsArgs),
    /// Hand a pair over to its other member
    Pair(pair::PairArgs),
    /// Show what the files take, and the room left
    ///
    /// LOGICAL is what the newest versions have, HISTORY what older ones that are kept have, TRASH what waits in the
    /// trash. SHARED is what needs no room of all these because it is stored already (copies, undone changes).
    /// PHYSICAL is what lies on the disks of both members, and FREE the room that is left on the fuller one.
    Df,
    /// Check this machine, the configuration and the cluster; say what to fix
    Doctor,
    /// Compare the index and both copies
    Fsck(fsck::FsckArgs),
    /// Compare both copies with their digests, and repair what is bad from the good one
    ///
    /// Each server reads its own disk; only what is bad is copied, from a partner whose copy has proved itself. A version
    /// of which both copies are bad is reported, never deleted. Exit status: 0 all is well now, 6 a copy could not be
    /// looked at, 7 damage that stays.
    Scrub(scrub::ScrubArgs),
    /// List or give up what servers hold and the index does not know
    ///
    /// A server whose disk is not as it was known, or an old one, is compared with the index. What the index does not know
    /// is set aside there: it is not served, and keeps its room until it is given up. It never goes by itself, because
    /// after a loss of the name manager's data it may be the only copy of something.
    Aside(aside::AsideArgs),
    /// Show what other programs need to connect
    Env,
    /// Show the settings and where each came from
    Config(config::ConfigArgs),
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_commands_are_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_help_lists_every_command_and_no_other() {
        let mut command = Cli::command();
        command.build();
        let mut known: Vec<String> =
            command.get_subcommands().map(|command| command.get_name().to_owned()).collect();
        let mut told: Vec<String> = GROUPS
            .lines()
            .filter_map(|line| line.strip_prefix("  ")?.split_whitespace().next())
            .map(str::to_owned)
            .collect();
        known.sort();
        told.sort();
        assert_eq!(known, told);
    }

    #[test]
    fn a_storage_server_has_its_own_name_managers() {
        let words = ["pairfs", "ss", "--name", "ss1", "--data", "d", "--nm", "127.0.0.1:1,127.0.0.1:2"];
        let Command::Ss(config) = Cli::try_parse_from(words).unwrap().command else { panic!("not ss") };
        assert_eq!(config.nm, ["127.0.0.1:1", "127.0.0.1:2"]);
    }

    #[test]
    fn global_options_stand_before_and_after_the_command() {
        for words in [
            ["pairfs", "--json", "--timeout", "2", "--dir", "d", "ls", "/a"],
            ["pairfs", "ls", "/a", "--json", "--dir", "d", "--timeout", "2"],
        ] {
            let cli = Cli::try_parse_from(words).unwrap();
            assert!(cli.global.json && cli.global.timeout.is_some() && cli.global.dir.is_some());
        }
    }
}
