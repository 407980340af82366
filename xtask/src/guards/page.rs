//! `docs/promises.md`: each promise, invariant and finding with its guards and the tests that miss
//! them.

use std::fmt::Write as _;

use anyhow::{Context as _, Result, bail};

use super::{Guard, Guards, LIST};
use crate::documents::source;

const INTRODUCTION: &str = "\
# Promises and the tests that keep them

Every promise of the [threat model](threat-model.md), every invariant of the [map](architecture.md) and every finding that is
mended, with the guard that keeps it and a test that fails when the guard is taken out. `cargo xtask guards` takes them out,
one at a time, in a copy of the checkout, and runs the test; `cargo xtask guards P8` tries those of one row, and
`cargo xtask guards --lot 10` draws ten. A row stands on more than is listed here: these are the guards without which it falls.

";

/// Rows of a table that begin with a number, as number and second column, prefixed.
fn numbered(page: &str, heading: &str, prefix: &str) -> Result<Vec<(String, String)>> {
    let section = page
        .split_once(heading)
        .with_context(|| format!("there is no {heading:?}"))?
        .1;
    let section = section.split("\n## ").next().unwrap_or_default();
    let rows: Vec<_> = section
        .lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix('|')?.split('|').map(str::trim);
            let number: u32 = cells.next()?.parse().ok()?;
            Some((format!("{prefix}{number}"), cells.next()?.to_owned()))
        })
        .collect();
    if rows.is_empty() {
        bail!("{heading:?} has no numbered rows");
    }
    Ok(rows)
}

fn table(page: &mut String, list: &Guards, title: &str, rows: &[(String, String)]) -> Result<()> {
    let _ = write!(
        page,
        "## {title}\n\n| # | | Guard | Where | Test that misses it |\n|---|---|---|---|---|\n"
    );
    for (row, text) in rows {
        let guards: Vec<&Guard> = list.guards.iter().filter(|g| g.rows.contains(row)).collect();
        if guards.is_empty() {
            bail!("{row} has no guard in {LIST}");
        }
        for (at, guard) in guards.into_iter().enumerate() {
            let (row, text) = if at == 0 {
                (row.as_str(), text.as_str())
            } else {
                ("", "")
            };
            let Guard {
                what,
                file,
                test,
                package,
                ..
            } = guard;
            let _ = writeln!(
                page,
                "| {row} | {text} | {what} | `{file}` | `{test}` in `{package}` |"
            );
        }
    }
    page.push('\n');
    Ok(())
}

/// The page.
///
/// # Errors
///
/// If a promise, an invariant or a finding has no guard, or a guard is of a row that is none.
pub(crate) fn document() -> Result<String> {
    let list = super::read()?;
    let promises = numbered(&source("docs/threat-model.md")?, "\n## Promises\n", "P")?;
    let invariants = numbered(
        &source("docs/architecture.md")?,
        "\n## Where each invariant lives\n",
        "I",
    )?;
    let findings: Vec<_> = list.findings.clone().into_iter().collect();
    for guard in &list.guards {
        for row in &guard.rows {
            let known = [&promises, &invariants, &findings];
            if !known.iter().any(|rows| rows.iter().any(|(name, _)| name == row)) {
                bail!("guard {} is of {row}, which is nothing", guard.name);
            }
        }
    }
    let mut page = INTRODUCTION.to_owned();
    table(&mut page, &list, "Promises", &promises)?;
    table(&mut page, &list, "Invariants", &invariants)?;
    table(&mut page, &list, "Findings", &findings)?;
    Ok(page.trim_end().to_owned() + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_numbered_rows_of_the_section_count() {
        let page = "\n## A\n| # | x |\n|---|---|\n| 1 | one |\n| two | 2 |\n\n## B\n| 3 | three |\n";
        let rows = numbered(page, "\n## A\n", "P").unwrap();
        assert_eq!(rows, [("P1".to_owned(), "one".to_owned())]);
        assert!(numbered(page, "\n## C\n", "P").is_err());
    }
}
