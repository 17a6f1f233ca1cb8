//! Changes of the namespace: made by the name manager alone, each under a request key.

use crate::ask::ask;
use crate::core::{Core, for_a_file, not_the_root, parse};
use crate::info::entry;
use types::command::{Answer, Asker, Make, Move, Remove, SetDurability};
use types::ids::RequestKey;
use types::limits::PATH_MAX;
use types::message::Method;
use types::message::manager::{MakeEntry, MoveEntry, RemoveEntry, SetFolderDurability};
use types::message::store::Durability;
use types::record::{Kind, Record};
use types::{Error, Result};

/// How to remove.
#[derive(Clone, Debug, Default)]
pub struct RemoveOptions {
    /// Also a folder that is not empty.
    pub recursive: bool,
    /// Past the trash.
    pub now: bool,
    /// Also with an upload open.
    pub force: bool,
    /// Repeats the request with this key.
    pub request_key: Option<RequestKey>,
}

/// How to make a folder.
#[derive(Clone, Copy, Debug, Default)]
pub struct MakeOptions {
    /// Also those above it, and it may exist.
    pub parents: bool,
    /// What it keeps of a local one.
    pub attributes: Attributes,
    /// How durable writes below it are; unset: as the folder above says.
    pub durability: Durability,
    /// Repeats the request with this key.
    pub request_key: Option<RequestKey>,
}

/// How to move.
#[derive(Clone, Debug, Default)]
pub struct MoveOptions {
    /// Replace an existing file.
    pub force: bool,
    /// Repeats the request with this key.
    pub request_key: Option<RequestKey>,
}

/// Asks for one change under one key until its outcome is known or the time is over.
async fn change<M: Method<Reply = Answer>>(
    core: &Core,
    given: Option<RequestKey>,
    ask: [u8; 32],
    request: impl Fn(Asker) -> M::Request,
) -> Result<Answer> {
    let mut retry = core.retry();
    let key = core.key(given, &mut retry).await?;
    let answered = loop {
        let answer = core.manager.change::<M>(request(key.asker(ask)), &retry).await;
        match answer.and_then(Answer::into_result) {
            Ok(answer) => break Ok(answer),
            Err(error) => {
                if let Err(error) = core.manager.pause(error, &mut retry).await {
                    break Err(error);
                }
            }
        }
    };
    key.end(answered, &retry)
}

/// What is kept of a local file system's entry besides its content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// POSIX mode with the bits of the type, as `stat` gives it; 0: none.
    pub mode: u32,
    /// Modification time, ms since 1970; 0: none.
    pub mtime_ms: i64,
}

impl Attributes {
    /// For the digest of a request: nothing if there are none.
    fn words(self) -> Option<String> {
        (self != Attributes::default()).then(|| format!("attributes {:o} {}", self.mode, self.mtime_ms))
    }
}

pub(crate) async fn make(core: &Core, path: &str, kind: Kind, options: MakeOptions) -> Result<Record> {
    let MakeOptions { parents, attributes, durability, request_key } = options;
    let name = parse(path)?;
    if name.is_root() && !(kind == Kind::Folder && parents) {
        return Err(match kind {
            Kind::Folder => Error::new(types::Code::Exists, "/ exists", "give another path"),
            _ => not_the_root(path),
        });
    }
    if kind == Kind::File {
        for_a_file(&name)?;
    }
    let operation = if kind == Kind::Folder { "mkdir" } else { "create" };
    let words = attributes.words();
    let mut conditions: Vec<&str> =
        parents.then_some("parents").into_iter().chain(words.as_deref()).collect();
    conditions.extend(durability.name());
    let make = |asker| Make {
        asker: Some(asker),
        path: name.to_string(),
        kind: kind.into(),
        parents,
        mode: attributes.mode,
        mtime_ms: attributes.mtime_ms,
        durability: durability.into(),
        ..Make::default()
    };
    let answer =
        change::<MakeEntry>(core, request_key, ask(operation, &[path], &conditions, None), make).await?;
    answer.record.ok_or_else(|| Error::bad_request("an answer without a record"))
}

/// Says how durable writes below a folder are; unset: as the folder above says.
pub(crate) async fn set_durability(
    core: &Core,
    path: &str,
    durability: Durability,
    given: Option<RequestKey>,
) -> Result<Record> {
    let name = parse(path)?;
    let set =
        |asker| SetDurability { asker: Some(asker), path: name.to_string(), durability: durability.into() };
    let said = durability.name().unwrap_or("inherit");
    let asked = ask("durability", &[path], &[said], None);
    let answer = change::<SetFolderDurability>(core, given, asked, set).await?;
    core.lookups.clear();
    answer.record.ok_or_else(|| Error::bad_request("an answer without a record"))
}

/// Makes a symbolic link. Its target is kept as given and never followed here.
pub(crate) async fn symlink(
    core: &Core,
    path: &str,
    target: &str,
    attributes: Attributes,
    given: Option<RequestKey>,
) -> Result<Record> {
    let name = parse(path)?;
    if name.is_root() {
        return Err(not_the_root(path));
    }
    if target.is_empty() || target.len() > PATH_MAX || target.contains('\0') {
        let what = format_args!("{} is no target of a link", types::path::Quoted(target));
        return Err(Error::new(types::Code::BadPath, what, "give a path of at most 4096 bytes"));
    }
    let make = |asker| Make {
        asker: Some(asker),
        path: name.to_string(),
        kind: Kind::Symlink.into(),
        target: target.to_owned(),
        mode: attributes.mode,
        mtime_ms: attributes.mtime_ms,
        ..Make::default()
    };
    let words = attributes.words();
    let conditions: Vec<&str> = [target].into_iter().chain(words.as_deref()).collect();
    let answer = change::<MakeEntry>(core, given, ask("symlink", &[path], &conditions, None), make).await?;
    answer.record.ok_or_else(|| Error::bad_request("an answer without a record"))
}

pub(crate) async fn remove(core: &Core, path: &str, options: &RemoveOptions) -> Result<()> {
    let name = parse(path)?;
    if name.is_root() {
        return Err(not_the_root(path));
    }
    if name.must_be_folder() {
        // The request knows names only.
        entry(core, path).await?;
    }
    let flags = [(options.recursive, "recursive"), (options.now, "now"), (options.force, "force")];
    let conditions: Vec<&str> = flags.iter().filter(|(set, _)| *set).map(|(_, name)| *name).collect();
    let remove = |asker| Remove {
        asker: Some(asker),
        path: name.to_string(),
        recursive: options.recursive,
        now: options.now,
        force: options.force,
    };
    let asked = ask("rm", &[path], &conditions, None);
    let removed = change::<RemoveEntry>(core, options.request_key, asked, remove).await;
    core.lookups.clear();
    removed.map(|_| ())
}

pub(crate) async fn rename(core: &Core, from: &str, to: &str, options: &MoveOptions) -> Result<Record> {
    let (from_name, to_name) = (parse(from)?, parse(to)?);
    if from_name.is_root() {
        return Err(not_the_root(from));
    }
    let conditions: &[&str] = if options.force { &["force"] } else { &[] };
    // A trailing '/' says "into this folder"; the state machine decides what it means.
    let shown = |name: &types::path::PathName| match name.must_be_folder() && !name.is_root() {
        true => format!("{name}/"),
        false => name.to_string(),
    };
    let rename = |asker| Move {
        asker: Some(asker),
        from: shown(&from_name),
        to: shown(&to_name),
        force: options.force,
    };
    let asked = ask("mv", &[from, to], conditions, None);
    let moved = change::<MoveEntry>(core, options.request_key, asked, rename).await;
    core.lookups.clear();
    moved?.record.ok_or_else(|| Error::bad_request("an answer without a record"))
}
