//! A user who was told that nobody knows whether it was done repeats the command with its key (R13), and, once it is
//! known, repeats it once more though it was answered: both have to be told the same, and nothing is done twice.

use crate::load::History;
use types::ids::RequestKey;
use types::limits::RESULTS_PER_CLIENT;
use types::{Code, Error, Result};

/// How often something is repeated of which nobody knows.
pub const REPEATS: u32 = 2;
/// What stands before the key in the error.
const OPTION: &str = "--request-key ";

/// The key that an error names.
fn key_in(error: &Error) -> Option<RequestKey> {
    let (_, behind) = error.message.split_once(OPTION)?;
    let key: RequestKey = behind.split([',', ' ']).next()?.parse().ok()?;
    // Other requests of this client are under way: it does not say that they are answered.
    Some(RequestKey { lowest: key.number.saturating_sub(RESULTS_PER_CLIENT / 2), ..key })
}

/// Asks, with repeats if this history is to have some. What is told last is what counts; `same` compares two answers.
pub async fn until_known<T, F>(
    history: &History,
    path: &str,
    mut ask: impl FnMut(Option<RequestKey>) -> F,
    same: impl Fn(&T, &T) -> bool,
) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let first = ask(None).await;
    let key = first.as_ref().err().and_then(key_in).filter(|_| history.repeats());
    let Some(key) = key else { return first };
    for _ in 0..REPEATS {
        match ask(Some(key)).await {
            Ok(told) => {
                let is_same = match ask(Some(key)).await {
                    Ok(again) => same(&told, &again),
                    Err(error) => error.code != Code::NotFound,
                };
                if !is_same {
                    history.wrong(format!("{path}: request {key} was repeated and done again"));
                }
                return Ok(told);
            }
            // Decided: that is what became of it.
            Err(error) if error.code == Code::NotFound => return Err(error),
            // Nobody knows still: that nothing came of this try says nothing of the first.
            Err(_) => {}
        }
    }
    first
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::ids::ClientId;

    #[test]
    fn the_key_is_found_in_what_a_user_is_told() {
        let next = "repeat the same command with --request-key 1f-2-401, it will not be done twice";
        let told = Error::new(Code::OutcomeUnknown, "it is not known whether it was done (x)", next);
        let key = key_in(&told).unwrap();
        let client = ClientId { issued: 0x1f, random: 2 };
        assert_eq!(key, RequestKey { client, number: 0x401, lowest: 0x401 - RESULTS_PER_CLIENT / 2 });
        assert_eq!(key_in(&Error::not_found("a")), None);
    }
}
