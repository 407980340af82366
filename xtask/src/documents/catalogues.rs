//! The catalogues of tables and of actions, as Markdown.

use std::fmt::Write as _;

use anyhow::{Context as _, Result, ensure};
use cleanroom_model::actions::{Action, LATER};
use kv::access::classify;
use kv::{Category, Visibility};

use super::declarations::{Declaration, declarations};
use super::source;

const NOTE: &str = "<!-- Made by `cargo xtask documents`; edit the declarations, not this page. -->\n";

/// A declared table.
struct Row {
    name: String,
    key: String,
    value: String,
    doc: String,
}

impl Row {
    /// Reads `NAME: Key => Value = "table"` and `pub const NAME: Table<Key, Value> = Table::new("table")`.
    fn read(declaration: &Declaration) -> Option<Self> {
        let (left, right) = declaration.code.rsplit_once(" = ")?;
        let name = right.trim_start_matches("Table::new(").trim_end_matches(')');
        let name = name.strip_prefix('"')?.strip_suffix('"')?;
        let (_, types) = left.split_once(": ")?;
        let (key, value) = match types.split_once(" => ") {
            Some(pair) => pair,
            None => split_pair(types.strip_prefix("Table<")?.strip_suffix('>')?)?,
        };
        Some(Self {
            name: name.to_owned(),
            key: key.to_owned(),
            value: value.to_owned(),
            doc: declaration.doc.clone(),
        })
    }
}

/// Splits at the comma that is inside no brackets.
fn split_pair(types: &str) -> Option<(&str, &str)> {
    let mut depth = 0_usize;
    for (at, character) in types.char_indices() {
        match character {
            '<' => depth += 1,
            '>' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => return Some((types.get(..at)?, types.get(at + 1..)?.trim())),
            _ => {}
        }
    }
    None
}

fn rows(path: &str) -> Result<Vec<Row>> {
    Ok(declarations(&source(path)?)
        .iter()
        .filter_map(Row::read)
        .collect())
}

/// `docs/tables.md`.
pub(super) fn tables() -> Result<String> {
    let framework = rows("crates/model/src/tables.rs")?;
    let voted = rows("crates/cleanroom-model/src/governance.rs")?;
    let own = rows("crates/cleanroom-model/src/tables.rs")?;
    // A row that the reader above overlooked must not silently be missing from the page.
    ensure!(
        names(&framework) == model::tables::ALL,
        "not every framework table was read"
    );
    ensure!(
        names(&own) == cleanroom_model::tables::ALL,
        "not every table of the application was read"
    );
    let declared = source("crates/cleanroom-model/src/governance.rs")?
        .matches("Table::new(")
        .count();
    ensure!(voted.len() == declared, "not every voted table was read");

    let mut page = format!("{NOTE}\n# Tables\n\n");
    page.push_str(
        "Every table, declared once in code. *Public* rows are in clear on the ledger; the others are encrypted under the ledger secret.\n\
         Who may open which category is in [architecture.md](architecture.md). `Pair` keys are joined by `/`.\n",
    );
    for (title, rows) in [
        ("Framework", &framework),
        (
            "Clean room: what votes write, and the drafts that votes compare with",
            &voted,
        ),
        ("Clean room: the application's own", &own),
    ] {
        write!(
            page,
            "\n## {title}\n\n| Table | Kind | Key | Value | |\n|---|---|---|---|---|\n"
        )?;
        for row in rows {
            let kind = kind(&row.name).with_context(|| format!("{} is a reserved name", row.name))?;
            writeln!(
                page,
                "| `{}` | {kind} | `{}` | `{}` | {} |",
                row.name,
                row.key,
                row.value,
                cell(&row.doc)
            )?;
        }
    }
    Ok(page)
}

fn names(rows: &[Row]) -> Vec<&str> {
    rows.iter().map(|row| row.name.as_str()).collect()
}

fn kind(name: &str) -> Option<String> {
    let (visibility, category) = classify(name)?;
    let visibility = match visibility {
        Visibility::Public => "public",
        Visibility::Private => "private",
    };
    let category = match category {
        Category::Internal => "internal",
        Category::Governance => "governance",
        Category::Application => "application",
    };
    Some(format!("{visibility} {category}"))
}

/// Text for a table's cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

/// `docs/actions.md`.
pub(super) fn actions() -> Result<String> {
    let arguments = declarations(&source("crates/cleanroom-model/src/actions/args.rs")?);
    let mut page = format!("{NOTE}\n# Actions\n\n");
    page.push_str(
        "What members can vote on. A proposal is `{\"actions\":[{\"name\":…,\"args\":{…}},…]}`; it is applied as a whole or not at all.\n\
         Arguments that are not listed are refused.\n",
    );
    let mut count = 0_usize;
    for declaration in declarations(&source("crates/cleanroom-model/src/actions.rs")?) {
        let Some((head, name)) = declaration.code.split_once(") = ") else {
            continue;
        };
        let (Some((_, form)), Some(name)) = (head.split_once('('), name.strip_prefix('"')) else {
            continue;
        };
        let name = name.trim_end_matches('"');
        ensure!(
            Action::NAMES.get(count) == Some(&name),
            "{name} is not action {count}"
        );
        count += 1;
        write!(page, "\n## `{name}`\n\n{}\n", declaration.doc)?;
        let fields = fields(&arguments, form).with_context(|| format!("no arguments {form}"))?;
        page.push_str("\n| Argument | Form | |\n|---|---|---|\n");
        for field in fields {
            writeln!(page, "{field}")?;
        }
    }
    ensure!(count == Action::NAMES.len(), "not every action was read");
    page.push_str(
        "\n## Known, and not carried out by this release\n\nThey are answered 400 `ActionNotAvailable`: ",
    );
    let later: Vec<String> = LATER.iter().map(|name| format!("`{name}`")).collect();
    writeln!(page, "{}.", later.join(", "))?;
    Ok(page)
}

/// Rows for the fields of a struct.
fn fields(all: &[Declaration], form: &str) -> Option<Vec<String>> {
    let head = format!("pub struct {form}");
    let at = all.iter().position(|declaration| declaration.code == head)?;
    let (declaration, after) = all.get(at..)?.split_first()?;
    let camel = declaration.attributes.contains("rename_all = \"camelCase\"");
    let own = after.iter().map_while(|field| {
        let (name, form) = field.code.strip_prefix("pub ")?.split_once(": ")?;
        (!name.contains(' ')).then(|| row(field, name, form, camel))
    });
    Some(own.collect())
}

fn row(field: &Declaration, name: &str, form: &str, camel: bool) -> String {
    let renamed = field
        .attributes
        .split_once("rename = \"")
        .and_then(|(_, rest)| rest.split_once('"'));
    let name = match renamed {
        Some((name, _)) => name.to_owned(),
        None if camel => camel_case(name),
        None => name.to_owned(),
    };
    let optional = if field.attributes.contains("default") {
        ", optional"
    } else {
        ""
    };
    let form = if field.attributes.contains("b64") {
        "base64"
    } else {
        wire_form(form)
    };
    format!("| `{name}` | {form}{optional} | {} |", cell(&field.doc))
}

/// What a Rust type looks like in JSON.
fn wire_form(form: &str) -> &str {
    let inner = form
        .strip_prefix("Option<")
        .and_then(|rest| rest.strip_suffix('>'))
        .unwrap_or(form);
    match inner {
        "u16" | "u32" | "u64" => "integer",
        "bool" => "boolean",
        "JsonValue" => "any JSON",
        "BTreeMap<String, JsonValue>" => "object",
        "Vec<TokenGrant>" => "list of `{sub, aud, tid?}`",
        "JwkSet" => "`{keys}`",
        "ProposedContract" => "`{data, version}`",
        "UserIdentityArgs" => "`{tenantId, issuer, identifier}`",
        "Digest" | "MemberId" | "UserId" => "64 hex digits",
        _ => "string",
    }
}

fn camel_case(name: &str) -> String {
    let mut words = name.split('_');
    let mut text = words.next().unwrap_or_default().to_owned();
    for word in words {
        let mut letters = word.chars();
        text.extend(letters.next().map(|letter| letter.to_ascii_uppercase()));
        text.push_str(letters.as_str());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declared(code: &str) -> Declaration {
        Declaration {
            doc: "What | where.".into(),
            attributes: String::new(),
            code: code.into(),
        }
    }

    #[test]
    fn both_forms_of_table_declarations_are_read() {
        let short = Row::read(&declared("A: Pair<K, L> => Json<V> = \"public:a\"")).unwrap();
        assert_eq!(
            (short.name.as_str(), short.key.as_str()),
            ("public:a", "Pair<K, L>")
        );
        let long = Row::read(&declared(
            "pub const B: Table<Pair<K, L>, Json<V>> = Table::new(\"b\")",
        ))
        .unwrap();
        assert_eq!(
            (long.key.as_str(), long.value.as_str()),
            ("Pair<K, L>", "Json<V>")
        );
        assert!(Row::read(&declared("pub const GLOBAL: &str = \"*\"")).is_none());
    }

    #[test]
    fn arguments_have_their_wire_names() {
        let mut field = declared("pub policy_type: Option<u16>");
        assert_eq!(
            row(&field, "policy_type", "Option<u16>", true),
            "| `policyType` | integer | What \\| where. |"
        );
        field.attributes = "#[serde(default, rename = \"type\")]".into();
        assert_eq!(
            row(&field, "change", "Change", true),
            "| `type` | string, optional | What \\| where. |"
        );
    }
}
