//! Reads a request's target: capability, path and query parameters, all bounded and decoded once.

use http::Uri;
use model::percent;

use super::reply::Refusal;

const PREFIX: &str = "/webhdfs/v1/";
const TARGET_LEN_MAX: usize = 8 * 1024;
const PARAMETER_COUNT_MAX: usize = 32;

/// What a request is about.
pub(super) struct Target {
    pub(super) capability: String,
    segments: Vec<String>,
    parameters: Vec<(String, String)>,
}

/// A place in the tree that Spark sees.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Place<'a> {
    Root,
    In,
    Out,
    /// Below `in/<view>`; the empty path is the view's directory.
    View {
        view: &'a str,
        path: String,
    },
    /// Below `out/<job>.tmp`; the empty path is that directory.
    Sink {
        path: String,
    },
}

impl Target {
    pub(super) fn parse(uri: &Uri) -> Result<Self, Refusal> {
        if uri
            .path()
            .len()
            .saturating_add(uri.query().unwrap_or_default().len())
            > TARGET_LEN_MAX
        {
            return Err(Refusal::BadRequest("the address is too long"));
        }
        let path = uri
            .path()
            .strip_prefix(PREFIX)
            .ok_or(Refusal::Forbidden("unknown path"))?;
        let mut segments = segments(path)?;
        if segments.is_empty() {
            return Err(Refusal::Forbidden("unknown path"));
        }
        let capability = segments.remove(0);
        let parameters = percent::pairs(uri.query().unwrap_or_default()).map_err(malformed)?;
        if parameters.len() > PARAMETER_COUNT_MAX {
            return Err(Refusal::BadRequest("too many parameters"));
        }
        Ok(Self {
            capability,
            segments,
            parameters,
        })
    }

    /// The operation's name in upper case.
    pub(super) fn operation(&self) -> String {
        self.parameter("op").unwrap_or_default().to_ascii_uppercase()
    }

    /// A parameter's value; names don't depend on case.
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters
            .iter()
            .find(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// A number parameter.
    pub(super) fn number(&self, name: &str) -> Result<Option<u64>, Refusal> {
        self.parameter(name)
            .map(|text| {
                text.parse()
                    .map_err(|_| Refusal::BadRequest("a number was expected"))
            })
            .transpose()
    }

    /// A flag parameter; absent is false.
    pub(super) fn flag(&self, name: &str) -> bool {
        self.parameter(name)
            .is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    /// The place the path names.
    pub(super) fn place(&self, sink_name: &str) -> Result<Place<'_>, Refusal> {
        place(&self.segments, sink_name)
    }

    /// The place inside the sink that the `destination` parameter names.
    pub(super) fn destination(&self, sink_name: &str) -> Result<String, Refusal> {
        let text = self
            .parameter("destination")
            .ok_or(Refusal::BadRequest("destination is missing"))?;
        let mut found = segments_plain(text)?;
        if found.is_empty() || found.remove(0) != self.capability {
            return Err(Refusal::Forbidden("unknown path"));
        }
        match place(&found, sink_name)? {
            Place::Sink { path } => Ok(path),
            _ => Err(Refusal::Forbidden("only the run's output can be written")),
        }
    }
}

fn place<'a>(segments: &'a [String], sink_name: &str) -> Result<Place<'a>, Refusal> {
    match segments {
        [] => Ok(Place::Root),
        [one] if one == "in" => Ok(Place::In),
        [one] if one == "out" => Ok(Place::Out),
        [one, view, rest @ ..] if one == "in" => Ok(Place::View {
            view,
            path: rest.join("/"),
        }),
        [one, name, rest @ ..] if one == "out" && name == sink_name => {
            Ok(Place::Sink { path: rest.join("/") })
        }
        _ => Err(Refusal::Forbidden("unknown path")),
    }
}

fn segments(path: &str) -> Result<Vec<String>, Refusal> {
    path.split('/')
        .filter(|part| !part.is_empty())
        .map(|part| percent::decode_path(part).map_err(malformed).and_then(checked))
        .collect()
}

fn segments_plain(path: &str) -> Result<Vec<String>, Refusal> {
    path.split('/')
        .filter(|part| !part.is_empty())
        .map(|part| checked(part.to_owned()))
        .collect()
}

/// A name that means itself in any store.
fn checked(segment: String) -> Result<String, Refusal> {
    let plain = segment
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "._-=".contains(c));
    if segment == "." || segment == ".." || !plain || segment.len() > 255 {
        return Err(Refusal::BadRequest(
            "a name in the path has characters that are not used here",
        ));
    }
    Ok(segment)
}

fn malformed(_: percent::Malformed) -> Refusal {
    Refusal::BadRequest("the address is not properly encoded")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(target: &str) -> Result<Target, Refusal> {
        Target::parse(&target.parse().unwrap())
    }

    #[test]
    fn paths_are_resolved_to_places_or_refused() {
        let good = |path: &str| parsed(&format!("/webhdfs/v1/cap/{path}")).unwrap();
        for (path, place) in [
            ("", Place::Root),
            ("in", Place::In),
            ("out/", Place::Out),
            (
                "in/v",
                Place::View {
                    view: "v",
                    path: String::new(),
                },
            ),
            (
                "in/v/a/b.csv",
                Place::View {
                    view: "v",
                    path: "a/b.csv".into(),
                },
            ),
            (
                "out/j.tmp/_temporary/0",
                Place::Sink {
                    path: "_temporary/0".into(),
                },
            ),
            ("out/j.tmp/p%2Dart", Place::Sink { path: "p-art".into() }),
        ] {
            assert_eq!(good(path).place("j.tmp").ok().unwrap(), place, "{path}");
        }
        for path in ["other", "out/k.tmp/x", "inn/v"] {
            assert!(good(path).place("j.tmp").is_err(), "{path}");
        }
        for target in [
            "/",
            "/webhdfs/v1/",
            "/webhdfs/v2/cap/in",
            "/webhdfs/v1/cap/in/..",
            "/webhdfs/v1/cap/in/%2e%2e/x",
            "/webhdfs/v1/cap/in/a%2fb",
            "/webhdfs/v1/cap/in/%00",
            "/webhdfs/v1/cap/in/%zz",
            "/webhdfs/v1/cap/in/%c3%28",
            "/webhdfs/v1/cap/in?op=%4",
            "/webhdfs/v1/cap/in?op=OPEN&%zz=1",
        ] {
            assert!(parsed(target).is_err(), "{target}");
        }
        assert!(parsed(&format!("/webhdfs/v1/cap/{}", "a/".repeat(TARGET_LEN_MAX))).is_err());
    }

    #[test]
    fn a_plus_in_a_query_is_a_blank_and_in_a_path_it_is_a_plus() {
        let query = parsed("/webhdfs/v1/cap/in?a=x+y%2Bz").unwrap();
        assert_eq!(query.parameter("a"), Some("x y+z"));
        // Refused as a name until names are looked up in the listing, and never as "a b".
        let reason = |path: &str| match parsed(&format!("/webhdfs/v1/cap/in/v/{path}")) {
            Err(Refusal::BadRequest(reason)) => reason,
            _ => "",
        };
        assert_eq!(reason("a+b"), reason("a%2Bb"));
        let many = |count: usize| parsed(&format!("/webhdfs/v1/cap/in?{}", "a=1&".repeat(count)));
        assert!(many(PARAMETER_COUNT_MAX).is_ok());
        assert!(many(PARAMETER_COUNT_MAX + 1).is_err());
    }

    #[test]
    fn a_destination_must_lie_in_the_output_of_the_same_run() {
        let to = |destination: &str| {
            parsed(&format!(
                "/webhdfs/v1/cap/out/j.tmp/a?op=RENAME&destination={destination}"
            ))
            .and_then(|target| target.destination("j.tmp"))
            .ok()
        };
        assert_eq!(to("/cap/out/j.tmp/b").as_deref(), Some("b"));
        assert_eq!(to("%2Fcap%2Fout%2Fj.tmp%2Fb%2Fc").as_deref(), Some("b/c"));
        for bad in [
            "/other/out/j.tmp/b",
            "/cap/in/v/b",
            "/cap/out/k.tmp/b",
            "/cap/out/j.tmp/../b",
            "",
            "/",
        ] {
            assert_eq!(to(bad), None, "{bad}");
        }
    }
}
