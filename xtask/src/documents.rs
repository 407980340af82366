//! `cargo xtask documents`: the catalogues of tables and actions and the OpenAPI document, made
//! from the declarations that the code itself runs on. They are checked in; a test keeps them fresh.

mod catalogues;
mod declarations;
mod openapi;

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::workspace::root;

/// A generated file: its path from the root, and its text.
struct Document {
    path: &'static str,
    text: String,
}

fn documents() -> Result<Vec<Document>> {
    Ok(vec![
        Document {
            path: "docs/tables.md",
            text: catalogues::tables()?,
        },
        Document {
            path: "docs/actions.md",
            text: catalogues::actions()?,
        },
        Document {
            path: "docs/openapi/cleanroom.json",
            text: openapi::document()?,
        },
        Document {
            path: "docs/promises.md",
            text: crate::guards::page::document()?,
        },
    ])
}

/// Writes every generated document that is not there or differs, and names it.
pub(crate) fn write() -> Result<()> {
    for document in documents()? {
        let path = root().join(document.path);
        if fs::read_to_string(&path).is_ok_and(|text| text == document.text) {
            continue;
        }
        fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
        fs::write(&path, document.text).with_context(|| format!("cannot write {}", path.display()))?;
        println!("{}", document.path);
    }
    Ok(())
}

/// A source file of the checkout.
pub(crate) fn source(path: &str) -> Result<String> {
    fs::read_to_string(root().join(path)).with_context(|| format!("cannot read {path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_documents_are_fresh() {
        for document in documents().unwrap() {
            let kept = fs::read_to_string(root().join(document.path)).unwrap_or_default();
            assert!(
                kept == document.text,
                "{} is stale: run cargo xtask documents and review the change",
                document.path
            );
        }
    }
}
