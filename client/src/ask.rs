//! What the user asked, as a digest: the same command gives the same value, whatever server, epoch or
//! attempt it goes through (R13).

use types::content::sha256;

/// SHA-256 over the operation, the paths as given, the conditions and what identifies the content. Each part
/// is told apart from its neighbours by its length.
pub(crate) fn ask(operation: &str, paths: &[&str], conditions: &[&str], content: Option<&str>) -> [u8; 32] {
    let mut text = Vec::with_capacity(256);
    let mut part = |bytes: &[u8]| {
        text.extend_from_slice(&(bytes.len() as u64).to_be_bytes());
        text.extend_from_slice(bytes);
    };
    part(operation.as_bytes());
    for list in [paths, conditions] {
        part(&(list.len() as u64).to_be_bytes());
        list.iter().for_each(|item| part(item.as_bytes()));
    }
    if let Some(content) = content {
        part(content.as_bytes());
    }
    sha256(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_command_asks_the_same_and_another_one_does_not() {
        let one = ask("write", &["/a"], &["if=1.2"], Some("sha256:1"));
        assert_eq!(one, ask("write", &["/a"], &["if=1.2"], Some("sha256:1")));
        let others = [
            ask("append", &["/a"], &["if=1.2"], Some("sha256:1")),
            ask("write", &["a"], &["if=1.2"], Some("sha256:1")),
            ask("write", &["/a"], &[], Some("sha256:1")),
            ask("write", &["/a"], &["if=1.2"], Some("sha256:2")),
            ask("write", &["/a", "if=1.2"], &[], Some("sha256:1")),
            ask("write", &["/a"], &["if=1.2"], None),
        ];
        assert!(others.iter().all(|other| *other != one));
    }
}
