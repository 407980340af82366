//! Modules of the application import each other in one direction.

use std::collections::{BTreeMap, BTreeSet};

use super::files;

const FOLDER: &str = "governance-wasm/app/src/";

/// Path of a module's file to the paths of those that it names as `crate::…`, tests aside.
type Imports = BTreeMap<String, BTreeSet<String>>;

/// The modules that `text` names, by the longest path that is a file.
fn named(text: &str, paths: &BTreeSet<String>) -> BTreeSet<String> {
    let product = text.split("#[cfg(test)]").next().unwrap_or_default();
    let whole: String = product.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut found = BTreeSet::new();
    for rest in whole.split("crate::").skip(1) {
        let group = rest.strip_prefix('{').and_then(|rest| rest.split('}').next());
        for part in group
            .unwrap_or(rest.split(['{', ';', '(', ' ']).next().unwrap_or_default())
            .split(',')
        {
            let mut path = part.trim().split("::").collect::<Vec<_>>();
            while !path.is_empty() {
                let file = path.join("/");
                if paths.contains(&file) {
                    found.insert(file);
                    break;
                }
                path.pop();
            }
        }
    }
    found
}

fn imports(sources: &[(String, String)]) -> Imports {
    let name = |path: &str| path.trim_start_matches(FOLDER).trim_end_matches(".rs").to_owned();
    let paths: BTreeSet<String> = sources.iter().map(|(path, _)| name(path)).collect();
    let mut imports = Imports::new();
    for (path, text) in sources {
        let module = name(path);
        let mut named = named(text, &paths);
        named.remove(&module);
        imports.insert(module, named);
    }
    imports
}

/// What is left when every module goes that imports none of those left: the circles, and what lies
/// above them.
fn entangled(mut imports: Imports) -> BTreeSet<String> {
    loop {
        let left: BTreeSet<String> = imports.keys().cloned().collect();
        imports.retain(|_, named| named.iter().any(|module| left.contains(module)));
        if imports.len() == left.len() {
            return left;
        }
    }
}

#[test]
fn the_applications_modules_import_each_other_in_no_circle() {
    let mut sources = files(".rs");
    sources.retain(|(path, _)| path.starts_with(FOLDER));
    let imports = imports(&sources);
    assert!(imports["dispatch"].contains("runs") && imports["runs"].contains("permit"));
    assert_eq!(entangled(imports), BTreeSet::new());
}

#[test]
fn a_circle_is_seen_through_groups_and_submodules() {
    let source = |name: &str, text: &str| (format!("{FOLDER}{name}.rs"), text.to_owned());
    let sources = [
        source("a", "use crate::{b, other};"),
        source("b", "fn f() { crate::c::d::g(1) }"),
        source("c", "//! leaf"),
        source("c/d", "use crate::a::{self,\n X};"),
        source("e", "#[cfg(test)]\nuse crate::e2::X;"),
        source("e2", "use crate::e::Y;"),
    ];
    let left: Vec<String> = entangled(imports(&sources)).into_iter().collect();
    assert_eq!(left, ["a", "b", "c/d"]);
}
