//! What comes into the store and goes again: contents with their sessions, cursors, decided heads.

use bytes::Bytes;
use types::command::Asker;
use types::ids::SessionId;
use types::message::store::Target;
use types::record::Record;
use types::{Error, Result};

use super::change::{
    AdvanceRecord, Change, ChunkPlace, ContentRecord, PlacesRecord, SessionRecord, session_bytes,
};
use super::commit::Work;
use super::content::Reserved;
use super::trouble::log_error;
use super::{Content, ContentWriter, JournalPosition, PLACES_PER_RECORD, Store, done};

/// What [`Store::prepare`] makes durable.
pub struct Prepare {
    /// Write session.
    pub session: SessionId,
    /// What is written to.
    pub target: Target,
    /// Who asked.
    pub asker: Option<Asker>,
    /// The content. None: what the session holds here already (it is open again, R10).
    pub content: Option<Content>,
    /// For the partner, not as the acting member.
    pub for_partner: bool,
    /// Answer when it is only buffered: it becomes durable with the next sync.
    pub lazy: bool,
    /// Nobody else writes now, as far as the caller sees: it is done in the caller's thread, so that no other has to be
    /// woken for it.
    pub lone: bool,
    /// Number of the newest row that the acting member knows ([`Store::newest_row`]; R26).
    pub seen: u64,
}

impl Store {
    /// Starts an upload of so many bytes, if that is known.
    pub fn writer(&self, size_hint: Option<u64>) -> ContentWriter {
        let shared = self.shared.clone();
        ContentWriter::new(
            self.shared.extents.clone(),
            self.shared.health.clone(),
            size_hint,
            self.shared.config.keep_free_bytes,
            Box::new(move || shared.free_bytes()),
        )
    }

    /// A content that came in one piece and stands inline.
    ///
    /// # Errors
    /// `BadRequest` when it is above `INLINE_MAX` or does not have this CRC-64.
    pub fn small(&self, bytes: Bytes, crc64: u64) -> Result<Content> {
        Content::small(&bytes, crc64)
    }

    /// Makes a content durable as prepared: it ends only by the log's decision (R10). Preparing what is held
    /// already is no error. Returns where it stands in the journal.
    ///
    /// # Errors
    /// `DiskFull`: nothing happened. `KeyReused`: the session holds another content. `NoSuchSession`: there is
    /// no content with it and none is held. `Io`, outcome unknown: the store is out of service.
    pub async fn prepare(&self, prepare: Prepare) -> Result<JournalPosition> {
        let record = ContentRecord {
            session: session_bytes(prepare.session),
            target: Some(prepare.target),
            asker: prepare.asker,
            for_partner: prepare.for_partner,
            seen: prepare.seen,
            ..ContentRecord::default()
        };
        let (changes, reserved) = self.content_changes(record, prepare.content, false).await?;
        // Buffered it is done before a disk has to be waited for; else somebody must look after the sockets meanwhile.
        let here = prepare.lone && (prepare.lazy || threads::step_aside());
        self.shared.doubt.begins(prepare.session);
        self.submit(Work::Changes(changes), reserved, !prepare.lazy, here).await.and_then(done)
    }

    /// Keeps a content that was copied from the partner for a version that the log has. If the session is held
    /// already with this content, the copy replaces what is there.
    ///
    /// # Errors
    /// Those of [`prepare`](Self::prepare).
    pub async fn keep_fetched(&self, session: SessionId, content: Content) -> Result<()> {
        let record = ContentRecord { session: session_bytes(session), ..ContentRecord::default() };
        let (mut changes, reserved) = self.content_changes(record, Some(content), true).await?;
        // First, because the outcome that counts is the last.
        changes.splice(..0, self.bad_record(session).await?);
        self.change(changes, reserved, true).await.and_then(done).map(|_| ())
    }

    /// The records of a content. Its extents are durable afterwards: they are synced before a record names them.
    pub(super) async fn content_changes(
        &self,
        mut record: ContentRecord,
        content: Option<Content>,
        fetched: bool,
    ) -> Result<(Vec<Change>, Option<Reserved>)> {
        self.shared.check()?;
        let Some(content) = content else {
            return Ok((vec![Change::Content { record, tail: Bytes::new(), fetched }], None));
        };
        let content = if content.has_extents() { self.sync_extents(content).await? } else { content };
        let Content { mut manifest, tail, mut places, reserved } = content;
        manifest.inline = Bytes::new();
        record.manifest = Some(manifest);
        let mut changes = Vec::new();
        while places.len() > PLACES_PER_RECORD {
            let rest = places.split_off(PLACES_PER_RECORD);
            changes.push(self.places_change(&record, std::mem::replace(&mut places, rest), changes.len()));
        }
        record.parts = changes.len() as u32;
        record.places = places;
        changes.push(Change::Content { record, tail, fetched });
        Ok((changes, reserved))
    }

    fn places_change(&self, record: &ContentRecord, places: Vec<ChunkPlace>, part: usize) -> Change {
        Change::Places(PlacesRecord { session: record.session.clone(), part: part as u32, places })
    }

    async fn sync_extents(&self, content: Content) -> Result<Content> {
        let (extents, health) = (self.shared.extents.clone(), self.shared.health.clone());
        let sync = move || {
            let _clock = health.operation();
            let files = content.places.iter().map(|p| p.file).filter(|file| *file != 0).collect();
            extents.sync(&files).map_err(|error| {
                let error = log_error(error);
                health.fail(&error);
                error
            })?;
            health.synced();
            Ok(content)
        };
        let synced = threads::run(sync).await;
        synced.map_err(|error| Error::internal(format_args!("a sync of the extents ended early: {error}")))?
    }

    /// The prepared mark goes, the content stays and may be prepared again (R10). Not waited for on the disk:
    /// if it is lost, the session is only resolved once more. On a full disk it is remembered, and noted later.
    ///
    /// # Errors
    /// `Io`: the store is out of service.
    pub async fn unprepare(&self, session: SessionId) -> Result<()> {
        let change = Change::Unprepared(SessionRecord { session: session_bytes(session) });
        let noted = self.change(vec![change], None, false).await.and_then(done);
        self.over_all_the_same(session, noted.map(drop))
    }

    /// Gives a content up; its room is free again once that is durable. Not waited for on the disk. Nothing
    /// happens when it is not held. On a full disk it stays for now, and is not in doubt.
    ///
    /// # Errors
    /// `Locked` when it belongs to a kept version. `Io`: the store is out of service.
    pub async fn drop_session(&self, session: SessionId) -> Result<()> {
        let change = Change::Dropped(SessionRecord { session: session_bytes(session) });
        let noted = self.change(vec![change], None, false).await.and_then(done);
        self.over_all_the_same(session, noted.map(drop))
    }

    /// Moves the cursor in a feed, after the rows it covers are durable. A cursor never goes back.
    ///
    /// # Errors
    /// `Changed` when the feeds are of another generation; else those of [`apply`](Self::apply).
    pub async fn advance(&self, generation: u64, feed: u32, seq: u64) -> Result<()> {
        let cursors = self.cursors();
        let cursor = if feed == 0 { cursors.control } else { cursors.pair };
        if cursors.generation == generation && cursor >= seq {
            return Ok(());
        }
        let change = Change::Advance(AdvanceRecord { generation, feed, seq });
        self.change(vec![change], None, true).await.and_then(done).map(|_| ())
    }

    /// The feeds have this generation. If it is another one than before, the cursors begin at zero.
    ///
    /// # Errors
    /// Those of [`apply`](Self::apply).
    pub async fn set_generation(&self, generation: u64) -> Result<()> {
        if self.cursors().generation == generation {
            return Ok(());
        }
        let change = Change::FeedReset(AdvanceRecord { generation, ..AdvanceRecord::default() });
        self.change(vec![change], None, true).await.and_then(done).map(|_| ())
    }

    /// Shows a record that the log has decided before its row comes (R22). In memory only: after a crash the
    /// row brings it.
    ///
    /// # Errors
    /// `Io`.
    pub fn install_head(&self, record: Record) -> Result<()> {
        self.shared.install(record)
    }
}
