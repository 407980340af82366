//! Documented declarations of a source file, as rustfmt leaves them: doc comment, attributes and
//! the code up to the end of the declaration or of its head.

/// One declaration.
#[derive(Debug, PartialEq)]
pub(super) struct Declaration {
    /// The doc comment on one line, links turned into plain code.
    pub(super) doc: String,
    /// Attributes, as written.
    pub(super) attributes: String,
    /// The code on one line, without what ends it.
    pub(super) code: String,
}

/// Every documented declaration, in order.
pub(super) fn declarations(source: &str) -> Vec<Declaration> {
    let mut found = Vec::new();
    let mut doc: Vec<&str> = Vec::new();
    let mut attributes = String::new();
    let mut code = String::new();
    for line in source.lines().map(str::trim) {
        if let Some(text) = line.strip_prefix("///") {
            doc.push(text.trim());
            continue;
        }
        if doc.is_empty() {
            continue;
        }
        if line.starts_with("#[") {
            attributes.push_str(line);
            continue;
        }
        if !code.is_empty() {
            code.push(' ');
        }
        code.push_str(line);
        if line.ends_with([';', ',', '{', '}']) {
            let text = code.trim_end_matches([';', ',', '{', '}']).trim_end();
            found.push(Declaration {
                doc: plain(&doc.join(" ")),
                attributes: attributes.clone(),
                code: text.to_owned(),
            });
            doc.clear();
            attributes.clear();
            code.clear();
        }
    }
    found
}

/// Links of rustdoc mean nothing outside of it.
fn plain(doc: &str) -> String {
    doc.replace("[`", "`").replace("`]", "`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docs_attributes_and_code_stay_together() {
        let source = "/// One\n/// [`two`].\n#[serde(default)]\npub name: Option<u8>,\nlet x = 1;\n\
                      /// Long.\npub const A: Table<K, V> =\n    Table::new(\"a\");\n";
        let expected = [
            ("One `two`.", "#[serde(default)]", "pub name: Option<u8>"),
            ("Long.", "", "pub const A: Table<K, V> = Table::new(\"a\")"),
        ];
        let found = declarations(source);
        let found: Vec<_> = found
            .iter()
            .map(|d| (d.doc.as_str(), d.attributes.as_str(), d.code.as_str()))
            .collect();
        assert_eq!(found, expected);
    }
}
