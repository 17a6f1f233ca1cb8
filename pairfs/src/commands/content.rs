//! Content of files: `write`, `read`, `stream`, `digest`.

use super::Context;
use super::entries::Repeat;
use super::target::{Target, is_output, pour};
use super::transfer::local::trouble;
use super::words::Words;
use crate::options::parse_time;
use crate::output::size;
use clap::{Args, ValueEnum};
use client::{Client, Content, Durability, Range, ReadOptions, Reader, Receipt, WriteOptions};
use serde_json::json;
use std::io::{IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use types::content::Digester;
use types::ids::{Digest, VersionNumber};
use types::{Code, Error, Result};

/// How often a followed file is looked at.
const FOLLOW_PAUSE: Duration = Duration::from_millis(250);

/// Durability on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DurabilityArg {
    /// On the server that acts, before it is acknowledged
    Async,
    /// On both servers, or an error
    Sync,
    /// On both servers, or on one once the other is known to be away
    SyncIfUp,
}

impl From<DurabilityArg> for Durability {
    fn from(arg: DurabilityArg) -> Durability {
        match arg {
            DurabilityArg::Async => Durability::Async,
            DurabilityArg::Sync => Durability::Sync,
            DurabilityArg::SyncIfUp => Durability::SyncIfUp,
        }
    }
}

/// `pairfs write`.
#[derive(Args, Clone, Debug)]
pub struct WriteArgs {
    /// The file to write
    pub path: String,
    /// The local file with the content; - or nothing: standard input
    #[arg(value_name = "FILE")]
    pub source: Option<PathBuf>,
    /// After what is there, instead of in its place
    #[arg(long, conflicts_with = "if_version")]
    pub append: bool,
    /// Only if this is its version now, such as 1.3
    #[arg(long, value_name = "V")]
    pub if_version: Option<VersionNumber>,
    /// Make missing folders
    #[arg(short, long)]
    pub parents: bool,
    /// How durable it must be before it is acknowledged
    #[arg(long, value_name = "D", env = "PAIRFS_DURABILITY")]
    pub durability: Option<DurabilityArg>,
    /// The key of a repeated request.
    #[command(flatten)]
    pub repeat: Repeat,
}

/// `pairfs read`.
#[derive(Args, Clone, Debug)]
#[command(disable_version_flag = true)]
pub struct ReadArgs {
    /// The file to read
    pub path: String,
    /// Write it to this local file, as a whole or not at all, or to a device or pipe; -: standard output
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Only these bytes, both ends included: A-B, A- or -N
    #[arg(long, value_name = "A-B", allow_hyphen_values = true)]
    pub range: Option<Range>,
    /// This version, such as 1.3
    #[arg(long, value_name = "V")]
    pub version: Option<VersionNumber>,
    /// Also from a server that may not serve now: possibly old
    #[arg(long)]
    pub stale_ok: bool,
}

/// `pairfs stream`.
#[derive(Args, Clone, Debug)]
pub struct StreamArgs {
    /// The file to read
    pub path: String,
    /// The pause between two words
    #[arg(long, value_name = "TIME", default_value = "100ms", value_parser = parse_time)]
    pub delay: Duration,
    /// Wait for more at the end
    #[arg(short, long)]
    pub follow: bool,
}

/// `pairfs digest`.
#[derive(Args, Clone, Debug)]
pub struct DigestArgs {
    /// The local file; -: standard input
    pub local: PathBuf,
}

/// Runs `write`.
///
/// # Errors
/// As [`Client::write`]; those of the local file.
pub async fn write(context: &Context, args: &WriteArgs) -> Result<()> {
    // What cannot be read or be named is told before anything is asked.
    types::path::PathName::given(&args.path)?;
    let content = match args.source.as_deref().filter(|source| *source != Path::new("-")) {
        Some(file) => Content::open(file)?,
        None => {
            if std::io::stdin().is_terminal() && !context.out.quiet {
                eprintln!("pairfs: type the content, then Ctrl-D");
            }
            Content::Stream(Box::new(tokio::io::stdin()))
        }
    };
    let options = WriteOptions {
        append: args.append,
        if_version: args.if_version,
        parents: args.parents,
        durability: args.durability.map_or(Durability::Unset, Durability::from),
        request_key: args.repeat.request_key,
        ..WriteOptions::default()
    };
    let receipt = context.connect().await?.write(&args.path, content, &options).await?;
    print_receipt(context, &receipt)
}

pub(super) fn print_receipt(context: &Context, receipt: &Receipt) -> Result<()> {
    if context.out.json {
        return context.out.object(&json!({
            "path": receipt.path,
            "version": receipt.version.to_string(),
            "size": receipt.size,
            "digest": receipt.digest.to_string(),
            "durable": receipt.durable(),
        }));
    }
    if context.out.quiet {
        return Ok(());
    }
    let path = context.out.name(&receipt.path);
    let (bytes, digest) = (size(receipt.size), receipt.digest);
    context.out.line(format!(
        "{path}  version {}  {bytes}  {digest}  durable: {}",
        receipt.version,
        receipt.durable()
    ))
}

/// Runs `read`.
///
/// # Errors
/// As [`Client::read`] and [`Reader::next`]; those of the local file.
pub async fn read(context: &Context, args: &ReadArgs) -> Result<()> {
    let options =
        ReadOptions { range: args.range.unwrap_or_default(), version: args.version, stale_ok: args.stale_ok };
    let client = context.connect().await?;
    let mut reader = client.read(&args.path, &options).await?;
    match args.output.as_deref().filter(|output| !is_output(output)) {
        None => {
            while let Some(bytes) = reader.next().await? {
                context.out.bytes(&bytes)?;
            }
            Ok(())
        }
        Some(output) => {
            let written = save(&mut reader, output).await?;
            let version = reader.version();
            if context.out.json {
                return context.out.object(&json!({
                    "path": args.path,
                    "output": output.to_string_lossy(),
                    "version": version.version().to_string(),
                    "size": version.size,
                    "digest": version.digest()?.to_string(),
                    "written": written,
                }));
            }
            context.out.note(format!("{} of version {}", size(written), version.version()));
            Ok(())
        }
    }
}

/// Writes what `reader` gives to `output`: beside it first, then in its place.
async fn save(reader: &mut Reader, output: &Path) -> Result<u64> {
    let failed = |error: std::io::Error| trouble(output, &error);
    let output = match Target::of(output)? {
        Target::Replace(file) => file,
        Target::Pour => return pour(reader, output, &AtomicU64::default()).await,
    };
    let folder = output.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    builder.prefix(".pairfs-").permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder.tempfile_in(folder).map_err(failed)?;
    let mut written = 0;
    while let Some(bytes) = reader.next().await? {
        file.write_all(&bytes).map_err(failed)?;
        written += bytes.len() as u64;
    }
    if let Ok(old) = std::fs::metadata(&output) {
        file.as_file().set_permissions(old.permissions()).map_err(failed)?;
    }
    file.persist(output).map_err(|error| failed(error.error))?;
    Ok(written)
}

/// Runs `stream`. With `--json` each word, with the white space behind it, is an object; bytes that are no UTF-8 stand
/// there in hex, too.
///
/// # Errors
/// As [`Client::read`] and [`Reader::next`]: when the server dies and cannot be replaced.
pub async fn stream(context: &Context, args: &StreamArgs) -> Result<()> {
    let client = context.connect().await?;
    let mut words = Words::default();
    let mut reader = client.read(&args.path, &ReadOptions::default()).await?;
    let mut offset = 0;
    loop {
        while let Some(bytes) = reader.next().await? {
            for word in words.push(&bytes) {
                say(context, &word, args.delay, &mut offset).await?;
            }
        }
        if let Some(word) = words.rest() {
            say(context, &word, args.delay, &mut offset).await?;
        }
        if !args.follow {
            return Ok(());
        }
        reader = grown(&client, &args.path, reader.version().version(), reader.version().size).await?;
    }
}

/// Says a word that begins at byte `offset` of the file; moves `offset` behind it.
async fn say(context: &Context, word: &[u8], delay: Duration, offset: &mut u64) -> Result<()> {
    let at = *offset;
    *offset += word.len() as u64;
    if at > 0 {
        tokio::time::sleep(delay).await;
    }
    if !context.out.json {
        return context.out.bytes(word);
    }
    let mut object = json!({"offset": at, "size": word.len(), "word": String::from_utf8_lossy(word)});
    if std::str::from_utf8(word).is_err() {
        object["hex"] = word.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into();
    }
    context.out.object(&object)
}

/// Waits for a version that is longer than `size`; reads what is beyond.
async fn grown(client: &Client, path: &str, mut seen: VersionNumber, size: u64) -> Result<Reader> {
    loop {
        tokio::time::sleep(FOLLOW_PAUSE).await;
        let options = ReadOptions { range: Range::From(size), ..ReadOptions::default() };
        match client.read(path, &options).await {
            Ok(reader) if reader.version().version() != seen => return Ok(reader),
            Ok(reader) => seen = reader.version().version(),
            // Nothing beyond: not grown yet.
            Err(Error { code: Code::BadRange, .. }) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Runs `digest`.
///
/// # Errors
/// Those of the local file.
pub fn digest(context: &Context, args: &DigestArgs) -> Result<()> {
    let failed = |error: std::io::Error| trouble(&args.local, &error);
    let (digest, bytes) = match args.local == Path::new("-") {
        true => digest_of(std::io::stdin().lock()).map_err(failed)?,
        false => digest_of(std::fs::File::open(&args.local).map_err(failed)?).map_err(failed)?,
    };
    if context.out.json {
        let path = args.local.to_string_lossy();
        return context.out.object(&json!({"path": path, "size": bytes, "digest": digest.to_string()}));
    }
    context.out.line(format!("{digest}  {}", context.out.name(&args.local.to_string_lossy())))
}

fn digest_of(mut source: impl Read) -> std::io::Result<(Digest, u64)> {
    let (mut digester, mut bytes, mut block) = (Digester::default(), 0, vec![0; 1 << 20]);
    loop {
        match source.read(&mut block)? {
            0 => return Ok((digester.finish(), bytes)),
            read => {
                digester.update(&block[..read]);
                bytes += read as u64;
            }
        }
    }
}
