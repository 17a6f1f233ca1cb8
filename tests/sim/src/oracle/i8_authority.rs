//! I8 Authority. Whoever cannot prove that he may is refused, with a reason that says so, and learns nothing.

use super::Violation;
use types::Code;

const INVARIANT: &str = "I8 authority";

/// Something that a stranger tried.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// What.
    pub what: String,
    /// What he was told; none: he was let in.
    pub refused: Option<Code>,
    /// An honest client who does it as it should be done: the port is open, and says no because of the proof only.
    pub honest: bool,
}

/// Checks what strangers were told.
pub fn refused(attempts: &[Attempt]) -> Vec<Violation> {
    let is_refusal = |code| {
        matches!(
            code,
            Code::BadProof | Code::BadCapability | Code::Denied | Code::NotSignedIn | Code::WrongCluster
        )
    };
    let wrong = attempts.iter().filter(|attempt| match (attempt.honest, attempt.refused) {
        (true, refused) => refused.is_some(),
        (false, refused) => !refused.is_some_and(is_refusal),
    });
    wrong
        .map(|Attempt { what, refused, .. }| {
            let what = format!("{what}: {}", refused.map_or("let in", Code::name));
            Violation { invariant: INVARIANT, what }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stranger_who_is_let_in_or_told_something_else_is_found() {
        let attempt = |refused, honest| Attempt { what: "a forged capability".into(), refused, honest };
        assert!(refused(&[attempt(Some(Code::BadCapability), false), attempt(None, true)]).is_empty());
        assert_eq!(refused(&[attempt(None, false)]).len(), 1);
        assert_eq!(refused(&[attempt(Some(Code::NotFound), false)]).len(), 1, "he learns what is there");
        assert_eq!(refused(&[attempt(Some(Code::BadProof), true)]).len(), 1, "the honest one is kept out");
    }
}
