//! A small content in one round trip: open, piece and commit.

use super::receipt::Receipt;
use super::request::{Request, Summary, new_session};
use crate::call::call;
use crate::core::{Core, Key};
use crate::retry::Retry;
use bytes::Bytes;
use types::Result;
use types::content::{Digester, crc64};
use types::message::store::Put;

pub(super) async fn put(core: &Core, request: &Request<'_>, content: Bytes) -> Result<Receipt> {
    let mut retry = core.retry();
    let key = core.key(request.given, &mut retry).await?;
    let written = attempts(core, request, content, &key, &mut retry).await;
    key.end(written, &retry)
}

async fn attempts(
    core: &Core,
    request: &Request<'_>,
    content: Bytes,
    key: &Key<'_>,
    retry: &mut Retry,
) -> Result<Receipt> {
    let mut digester = Digester::default();
    digester.update(&content);
    let digest = Some(digester.finish());
    let summary = Summary { size: content.len() as u64, crc64: crc64(&content), digest };
    let session = new_session()?;
    let mut fresh = false;
    loop {
        let lookup = core.lookups.for_writing(&core.manager, &request.name, None, fresh, retry).await?;
        let (found, body, timing) = (&lookup.found, content.clone(), &*retry);
        let answer = core.at_acting(found.target.pair, timing, |acting| async move {
            let put = request.commit(session, found, &acting, key, summary, timing);
            call::<Put>(&acting.connection, &put, body, timing.deadline()).await
        });
        match answer.await {
            Ok((receipt, _)) => return Receipt::new(request.path, receipt),
            // A name that a folder took meanwhile, or a folder that went: what is remembered is old.
            Err(error) if lookup.remembered && retry_unremembered(error.code) => {
                core.lookups.forget(&request.name);
                fresh = true;
            }
            Err(error) => fresh = core.after(error, found.target.pair, &request.name, retry).await?,
        }
    }
}

/// Refusals that a remembered lookup may have caused.
pub(super) const fn retry_unremembered(code: types::Code) -> bool {
    matches!(code, types::Code::NotFound | types::Code::Denied | types::Code::BadCapability)
}
