//! Scrub: compares what this server holds with its SHA-256 and repairs it from the partner, a page at a time.

use crate::node::Node;
use crate::scrub::Scrubber;
use std::sync::Arc;
use types::limits::{SCRUB_FILES, SCRUB_PAGE};
use types::message::member::DamageReport;
use types::message::store::{ScrubReply, ScrubRequest};
use types::{Code, Error, Result};

/// Looks at a page, for operators only. Needs no lease: both members are asked.
pub async fn run(node: Arc<Node>, user: String, request: ScrubRequest) -> Result<ScrubReply> {
    let capability = node.capability(request.capability.as_ref(), &user)?;
    if !capability.operator || capability.pair != request.pair {
        return Err(Error::new(Code::Denied, "a scrub is for operators", "sign in as an administrator"));
    }
    node.serving.check_pair(request.pair)?;
    if request.files.len() > SCRUB_FILES {
        let what = format_args!("{} files in one request, at most {SCRUB_FILES} can be", request.files.len());
        return Err(Error::bad_request(what));
    }
    let _turn = node.scrubs.turn().await?;
    let mut scrubber = Scrubber::new(node.clone(), request.pair, request.rate, request.run)?;
    let reply = scrubber.page(request.from.unwrap_or_default(), &request.files, SCRUB_PAGE).await?;
    if let Some(report) = report(&node, &reply) {
        node.completions.report_damage(report);
    }
    Ok(reply)
}

/// What a page has found, for people; none: nothing.
pub fn report(node: &Node, reply: &ScrubReply) -> Option<DamageReport> {
    let repaired = reply.findings.iter().filter(|finding| finding.repaired).count();
    // What stays bad is the better example.
    let example = reply.findings.iter().min_by_key(|finding| finding.repaired)?;
    Some(DamageReport {
        server: node.name().to_owned(),
        repaired: repaired as u64,
        damaged: (reply.findings.len() - repaired) as u64,
        example: format!("{} {}.{}: {}", example.name, example.epoch, example.number, example.what),
    })
}
