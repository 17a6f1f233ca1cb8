//! Where the bytes of a write come from, and how they are cut and checked on their way.

use super::request::Summary;
use crate::bounds::{SOURCE_AHEAD, SOURCE_READ};
use bytes::Bytes;
use net::buffers::Buffer;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::mpsc;
use types::content::{block_crcs, crc64_concat};
use types::limits::{BLOCK, CHUNK, PIECE};
use types::{Code, Error, Result};

/// A stream that gives its bytes once.
pub(super) type Stream = Box<dyn AsyncRead + Send + Unpin>;

/// The bytes to write.
pub enum Content {
    /// Bytes in memory.
    Bytes(Bytes),
    /// A regular file, from its start; can be read again when an upload has to begin anew.
    File(File),
    /// Anything else; only the last 16 MiB can be sent again.
    Stream(Box<dyn AsyncRead + Send + Unpin>),
}

impl From<&'static str> for Content {
    fn from(text: &'static str) -> Content {
        Content::Bytes(Bytes::from_static(text.as_bytes()))
    }
}

impl From<Vec<u8>> for Content {
    fn from(bytes: Vec<u8>) -> Content {
        Content::Bytes(bytes.into())
    }
}

impl From<Bytes> for Content {
    fn from(bytes: Bytes) -> Content {
        Content::Bytes(bytes)
    }
}

/// What a write begins with.
pub(super) enum Start {
    /// All of it.
    Whole(Bytes),
    /// More than a chunk.
    Long(Source),
}

/// A source of more than a chunk.
pub(super) enum Source {
    /// In memory.
    Bytes(Bytes),
    /// A file and its length when it was opened.
    File(Arc<File>, u64),
    /// A stream and what was read of it.
    Stream(Bytes, Stream),
}

/// A source that can be read again from its start.
pub(super) enum Again {
    /// In memory.
    Bytes(Bytes),
    /// A file and its length when it was opened.
    File(Arc<File>, u64),
}

impl From<Again> for Source {
    fn from(again: Again) -> Source {
        match again {
            Again::Bytes(bytes) => Source::Bytes(bytes),
            Again::File(file, len) => Source::File(file, len),
        }
    }
}

impl Content {
    /// The content of the file at `path`, or what comes out of it if it is no regular file.
    ///
    /// # Errors
    /// `NOT_FOUND`, `IS_A_FOLDER`, `IO`.
    pub fn open(path: &Path) -> Result<Content> {
        let file = File::open(path).map_err(|error| local(path, &error))?;
        let kind = file.metadata().map_err(|error| local(path, &error))?.file_type();
        if kind.is_dir() {
            let next = "give a file";
            return Err(Error::new(Code::IsAFolder, format_args!("{} is a folder", path.display()), next));
        }
        Ok(match kind.is_file() {
            true => Content::File(file),
            false => Content::Stream(Box::new(tokio::fs::File::from_std(file))),
        })
    }

    /// All bytes, if they are at most `max`.
    pub(super) async fn whole(self, max: u64) -> Result<Bytes> {
        let bytes = match self {
            Content::Bytes(bytes) => bytes,
            Content::File(file) => read_up_to(Box::new(tokio::fs::File::from_std(file)), max + 1).await?.0,
            Content::Stream(stream) => read_up_to(stream, max + 1).await?.0,
        };
        if bytes.len() as u64 <= max {
            return Ok(bytes);
        }
        let what = format_args!("more than {max} bytes cannot be appended at once");
        Err(Error::new(Code::Unsupported, what, "write the file as a whole"))
    }

    /// Reads as much as is needed to know whether it is long.
    pub(super) async fn start(self) -> Result<Start> {
        let chunk = CHUNK as u64;
        Ok(match self {
            Content::Bytes(bytes) if bytes.len() <= CHUNK => Start::Whole(bytes),
            Content::Bytes(bytes) => Start::Long(Source::Bytes(bytes)),
            Content::File(file) => match file.metadata()?.len() {
                // Some files (of /proc) have no length until they are read.
                len if len <= chunk => stream(Box::new(tokio::fs::File::from_std(file))).await?,
                len => Start::Long(Source::File(Arc::new(file), len)),
            },
            Content::Stream(bytes) => stream(bytes).await?,
        })
    }
}

async fn stream(stream: Stream) -> Result<Start> {
    let (bytes, stream) = read_up_to(stream, CHUNK as u64 + 1).await?;
    Ok(match bytes.len() <= CHUNK {
        true => Start::Whole(bytes),
        false => Start::Long(Source::Stream(bytes, stream)),
    })
}

async fn read_up_to(stream: Stream, max: u64) -> Result<(Bytes, Stream)> {
    let mut bytes = Vec::new();
    let mut limited = stream.take(max);
    limited.read_to_end(&mut bytes).await?;
    Ok((bytes.into(), limited.into_inner()))
}

fn local(path: &Path, error: &std::io::Error) -> Error {
    let code = match error.kind() {
        std::io::ErrorKind::NotFound => Code::NotFound,
        _ => Code::Io,
    };
    Error::new(code, format_args!("{}: {error}", path.display()), "check the local file")
}

/// What travels in one frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) offset: u64,
    pub(super) body: Bytes,
    pub(super) crcs: Vec<u64>,
}

impl Piece {
    fn new(offset: u64, body: Bytes) -> Piece {
        Piece { offset, crcs: block_crcs(&body), body }
    }

    /// Where it ends.
    pub(super) fn end(&self) -> u64 {
        self.offset + self.body.len() as u64
    }

    /// What of it lies at `from` and beyond; none if nothing does.
    pub(super) fn beyond(&self, from: u64) -> Option<Piece> {
        if from <= self.offset {
            return Some(self.clone());
        }
        let skip = usize::try_from(from - self.offset).unwrap_or(usize::MAX);
        (skip < self.body.len()).then(|| Piece::new(from, self.body.slice(skip..)))
    }
}

/// What a feeder gives.
#[derive(Debug)]
pub(super) enum Fed {
    /// The next pieces.
    Pieces(Vec<Piece>),
    /// That was all.
    End(Summary),
}

/// Reads, cuts and checks ahead of the one who sends, on another thread.
pub(super) struct Feeder {
    fed: mpsc::Receiver<Result<Fed>>,
}

impl Feeder {
    /// Feeds `source` from its start; gives back what can be fed again.
    pub(super) fn start(source: Source) -> (Feeder, Option<Again>) {
        let (sender, fed) = mpsc::channel(SOURCE_AHEAD);
        let again = match source {
            Source::Bytes(bytes) => {
                let (again, mut offset) = (bytes.clone(), 0);
                threads::beside(feed(sender, move || {
                    let end = bytes.len().min(offset + PIECE);
                    Ok(bytes.slice(std::mem::replace(&mut offset, end)..end))
                }));
                Some(Again::Bytes(again))
            }
            Source::File(file, len) => {
                let (again, mut offset) = (file.clone(), 0);
                threads::beside(feed(sender, move || {
                    let body = read_body(&file, offset, len)?;
                    offset += body.len() as u64;
                    Ok(body)
                }));
                Some(Again::File(again, len))
            }
            Source::Stream(prefix, stream) => {
                tokio::spawn(feed_stream(sender, prefix, stream));
                None
            }
        };
        (Feeder { fed }, again)
    }

    /// What comes next. Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> Result<Fed> {
        let ended = || Err(Error::internal("the source of a write ended without a word"));
        self.fed.recv().await.unwrap_or_else(ended)
    }
}

/// The next piece of a file that must not become shorter meanwhile.
fn read_body(file: &File, offset: u64, len: u64) -> Result<Bytes> {
    let want = usize::try_from(len - offset).unwrap_or(usize::MAX).min(PIECE);
    let mut body = Buffer::take();
    file.read_exact_at(body.room(want), offset).map_err(|error| match error.kind() {
        std::io::ErrorKind::UnexpectedEof => {
            Error::new(Code::Io, "the local file became shorter while it was read", "write it again")
        }
        _ => Error::from(error),
    })?;
    body.fill(want);
    Ok(body.freeze())
}

/// Cuts and checks bytes in order, a block of several pieces at a time.
#[derive(Default)]
struct Cutter {
    size: u64,
    crc64: u64,
    block: Vec<Piece>,
}

impl Cutter {
    /// Takes what one piece holds; nothing means the end. Gives what is to be handed on, if anything is.
    fn cut(&mut self, body: Bytes) -> bool {
        let ends = body.is_empty();
        if !ends {
            let piece = Piece::new(self.size, body);
            for (block, crc) in piece.body.chunks(BLOCK).zip(&piece.crcs) {
                self.crc64 = crc64_concat(self.crc64, *crc, block.len() as u64);
            }
            self.size += piece.body.len() as u64;
            self.block.push(piece);
        }
        ends || self.block.len() * PIECE >= SOURCE_READ
    }

    /// What was cut and not handed on.
    fn block(&mut self) -> Option<Fed> {
        (!self.block.is_empty()).then(|| Fed::Pieces(std::mem::take(&mut self.block)))
    }

    fn end(&self) -> Fed {
        Fed::End(Summary { size: self.size, crc64: self.crc64, digest: None })
    }
}

/// Feeds from `next`, which may block.
async fn feed(sender: mpsc::Sender<Result<Fed>>, mut next: impl FnMut() -> Result<Bytes>) {
    let mut cutter = Cutter::default();
    loop {
        let (fed, more) = match next() {
            Ok(body) => {
                let more = !body.is_empty();
                if !cutter.cut(body) {
                    continue;
                }
                (cutter.block().map(Ok), more)
            }
            Err(error) => (Some(Err(error)), false),
        };
        let failed = matches!(fed, Some(Err(_)));
        if let Some(fed) = fed
            && sender.send(fed).await.is_err()
        {
            // Nobody listens any more: given up.
            return;
        }
        if failed {
            return;
        }
        if !more {
            let _ = sender.send(Ok(cutter.end())).await;
            return;
        }
    }
}

async fn feed_stream(sender: mpsc::Sender<Result<Fed>>, prefix: Bytes, stream: Stream) {
    let mut cutter = Cutter::default();
    let mut stream = std::io::Cursor::new(prefix).chain(stream);
    loop {
        let body = match read_piece(&mut stream).await {
            Ok(body) => body,
            Err(error) => {
                let _ = sender.send(Err(error)).await;
                return;
            }
        };
        let ends = body.is_empty();
        // At once: who knows when more comes.
        cutter.cut(body);
        if let Some(fed) = cutter.block()
            && sender.send(Ok(fed)).await.is_err()
        {
            return;
        }
        if ends {
            let _ = sender.send(Ok(cutter.end())).await;
            return;
        }
    }
}

/// A whole piece, less only at the end: cuts lie at multiples of the piece size.
async fn read_piece(stream: &mut (impl AsyncRead + Unpin)) -> Result<Bytes> {
    let mut body = Buffer::take();
    while body.filled() < PIECE {
        match stream.read(body.room(PIECE)).await? {
            0 => break,
            count => body.fill(count),
        }
    }
    Ok(body.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use types::content::crc64;

    async fn fed(source: Source) -> (Vec<Piece>, Summary) {
        let (mut feeder, _) = Feeder::start(source);
        let mut pieces = Vec::new();
        loop {
            match feeder.next().await.unwrap() {
                Fed::Pieces(more) => pieces.extend(more),
                Fed::End(summary) => return (pieces, summary),
            }
        }
    }

    #[tokio::test]
    async fn every_source_gives_the_same_pieces_and_sum() {
        let bytes: Vec<u8> = (0..CHUNK + PIECE + 77).map(|i| (i % 251) as u8).collect();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        let (prefix, rest) = bytes.split_at(CHUNK + 1);
        let stream: Stream = Box::new(std::io::Cursor::new(rest.to_vec()));
        let sources = [
            Source::Bytes(bytes.clone().into()),
            Source::File(Arc::new(file), bytes.len() as u64),
            Source::Stream(prefix.to_vec().into(), stream),
        ];
        for source in sources {
            let (pieces, summary) = fed(source).await;
            assert_eq!(summary, Summary { size: bytes.len() as u64, crc64: crc64(&bytes), digest: None });
            let mut end = 0;
            for piece in &pieces {
                assert_eq!(piece.offset, end);
                assert!(piece.body.len() <= PIECE);
                let last = piece.end() - 1;
                assert_eq!(piece.offset / CHUNK as u64, last / CHUNK as u64, "no piece crosses a chunk");
                assert_eq!(piece.crcs, block_crcs(&piece.body));
                end = piece.end();
            }
            assert_eq!(end, bytes.len() as u64);
        }
    }

    #[tokio::test]
    async fn a_short_content_is_known_whole_wherever_it_comes_from() {
        let stream: Stream = Box::new(&b"hello"[..]);
        for content in [Content::from("hello"), Content::Stream(stream)] {
            let Start::Whole(bytes) = content.start().await.unwrap() else { panic!("not whole") };
            assert_eq!(bytes, "hello");
        }
    }

    #[tokio::test]
    async fn a_file_that_shrinks_while_it_is_read_is_not_written_half() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[1; 100]).unwrap();
        let (mut feeder, _) = Feeder::start(Source::File(Arc::new(file), 200));
        assert_eq!(feeder.next().await.unwrap_err().code, Code::Io);
    }
}
