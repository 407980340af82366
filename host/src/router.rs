//! Paths with parameters: which entry of a table a request meets.

use model::percent;

/// A table of method, path template and what is found there. Earlier entries win, so literals
/// are listed before the templates they overlap with.
#[derive(Debug)]
pub(crate) struct Router<T> {
    entries: Vec<Entry<T>>,
}

#[derive(Debug)]
struct Entry<T> {
    method: String,
    segments: Vec<Segment>,
    value: T,
}

/// One part of a template. `{id}:withdraw` is a parameter with the suffix `:withdraw`.
#[derive(Debug, Eq, PartialEq)]
enum Segment {
    Literal(String),
    Parameter { name: String, suffix: String },
}

/// Values of a path's parameters, in the order of the path.
pub(crate) type Parameters = Vec<(String, String)>;

/// What a request met.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Found<'a, T> {
    /// An entry, with the values of its parameters, percent-decoded once.
    Entry(&'a T, Parameters),
    /// The path exists, the method does not; these do.
    OtherMethods(Vec<&'a str>),
    /// No such path.
    Nothing,
    /// A parameter has a malformed escape, or is not UTF-8 after decoding.
    Undecodable,
}

impl<T> Router<T> {
    pub(crate) const fn new() -> Self {
        Self { entries: Vec::new() }
    }

    pub(crate) fn add(&mut self, method: &str, template: &str, value: T) {
        self.entries.push(Entry {
            method: method.to_owned(),
            segments: template.split('/').skip(1).map(segment).collect(),
            value,
        });
    }

    pub(crate) fn find(&self, method: &str, path: &str) -> Found<'_, T> {
        let parts: Vec<&str> = path.split('/').skip(1).collect();
        let mut others = Vec::new();
        for entry in self.entries.iter().filter(|entry| entry.meets(&parts)) {
            if entry.method == method {
                return match entry.parameters(&parts) {
                    Some(parameters) => Found::Entry(&entry.value, parameters),
                    None => Found::Undecodable,
                };
            }
            others.push(entry.method.as_str());
        }
        if others.is_empty() {
            Found::Nothing
        } else {
            Found::OtherMethods(others)
        }
    }
}

impl<T> Entry<T> {
    fn meets(&self, parts: &[&str]) -> bool {
        self.segments.len() == parts.len()
            && self
                .segments
                .iter()
                .zip(parts)
                .all(|(segment, part)| match segment {
                    Segment::Literal(text) => text == part,
                    Segment::Parameter { suffix, .. } => {
                        part.strip_suffix(suffix.as_str()).is_some_and(|value| {
                            // Without a suffix of its own a parameter does not swallow an action.
                            !value.is_empty() && (!suffix.is_empty() || !value.contains(':'))
                        })
                    }
                })
    }

    fn parameters(&self, parts: &[&str]) -> Option<Parameters> {
        let mut parameters = Vec::new();
        for (segment, part) in self.segments.iter().zip(parts) {
            if let Segment::Parameter { name, suffix } = segment {
                let value = part.strip_suffix(suffix.as_str())?;
                parameters.push((name.clone(), percent::decode_path(value).ok()?));
            }
        }
        Some(parameters)
    }
}

fn segment(text: &str) -> Segment {
    let parameter = text.strip_prefix('{').and_then(|rest| rest.split_once('}'));
    match parameter {
        Some((name, suffix)) => Segment::Parameter {
            name: name.to_owned(),
            suffix: suffix.to_owned(),
        },
        None => Segment::Literal(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn router() -> Router<&'static str> {
        let mut router = Router::new();
        router.add("GET", "/tx/commit", "commit");
        router.add("GET", "/tx/{id}", "tx");
        router.add("PUT", "/tx/{id}", "put");
        router.add("POST", "/p/{id}:withdraw", "withdraw");
        router.add("GET", "/p/{id}", "proposal");
        router
    }

    #[track_caller]
    fn check(method: &str, path: &str, expected: &str) {
        let router = router();
        let found = match router.find(method, path) {
            Found::Entry(name, parameters) => {
                let values: Vec<String> = parameters.into_iter().map(|(_, value)| value).collect();
                format!("{name}({})", values.join(","))
            }
            Found::OtherMethods(methods) => methods.join(","),
            Found::Nothing => "nothing".to_owned(),
            Found::Undecodable => "undecodable".to_owned(),
        };
        assert_eq!(found, expected, "{method} {path}");
    }

    #[test]
    fn literals_win_and_parameters_are_decoded_once() {
        check("GET", "/tx/commit", "commit()");
        check("GET", "/tx/2.17", "tx(2.17)");
        check("GET", "/tx/a%2Fb%2525", "tx(a/b%25)");
        check("GET", "/tx/a+b", "tx(a+b)");
        for broken in ["%ff", "%", "a%4", "%zz"] {
            check("GET", &format!("/tx/{broken}"), "undecodable");
        }
        check("GET", "/tx/", "nothing");
    }

    #[test]
    fn an_action_belongs_to_its_path() {
        check("POST", "/p/ab:withdraw", "withdraw(ab)");
        check("GET", "/p/ab", "proposal(ab)");
        check("GET", "/p/ab:withdraw", "POST");
        check("POST", "/p/ab:other", "nothing");
        check("POST", "/p/:withdraw", "nothing");
    }

    #[test]
    fn the_methods_that_exist_are_named() {
        check("DELETE", "/tx/1", "GET,PUT");
        check("GET", "/nowhere", "nothing");
        check("GET", "/tx/1/2", "nothing");
    }
}
