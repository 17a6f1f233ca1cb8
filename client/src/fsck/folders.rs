//! The paths of folders, to name files by path.

use crate::core::Core;
use crate::list::Listing;
use std::collections::HashMap;
use std::sync::Arc;
use types::{Code, Error, Result};

/// The paths of all folders by id, to name files by path.
pub(crate) async fn folders(core: &Arc<Core>) -> Result<HashMap<u64, String>> {
    let mut paths = HashMap::from([(types::ids::InodeId::ROOT.0, String::new())]);
    let mut open = vec![String::new()];
    while let Some(path) = open.pop() {
        let shown = if path.is_empty() { "/" } else { &path };
        let mut listing = Listing::new(core.clone(), shown, "", None)?;
        loop {
            let entries = match listing.next().await {
                Ok(Some(entries)) => entries,
                Ok(None) => break,
                // Removed meanwhile.
                Err(Error { code: Code::NotFound, .. }) => break,
                Err(error) => return Err(error),
            };
            for folder in entries.iter().filter(|entry| entry.is_folder()) {
                let path = format!("{path}/{}", folder.name);
                paths.insert(folder.id, path.clone());
                open.push(path);
            }
        }
    }
    Ok(paths)
}
