//! A request as the host hands it over, and readers for its parts.

use std::collections::BTreeMap;
use std::str::FromStr;

use cleanroom_model::endpoints::Endpoint;
use cleanroom_model::error_codes::ErrorCode;
use cleanroom_model::ids::InvalidIdentifier;
use kv::{Read, TxId};
use model::{json, percent};
use serde::de::DeserializeOwned;

use crate::host_services::HostServices;
use crate::permit::wrapper::Wrapper;
use crate::reply::Refused;

/// A caller known by certificate.
#[derive(Clone, Debug)]
pub struct Principal {
    /// Member or user id.
    pub id: String,
    /// `member_data` or `user_data`, JSON text.
    pub data_json: String,
    /// Of members: whether the status is `Active`. True for users.
    pub active: bool,
}

/// Who calls, as far as the host can tell.
#[derive(Clone, Debug)]
pub enum Caller {
    /// A member's certificate.
    Member(Principal),
    /// A user's certificate.
    User(Principal),
    /// A token whose signature, times, issuer and audience were checked.
    Token {
        /// Issuer that the key is registered for.
        issuer: String,
        /// Claims, JSON object text.
        claims_json: String,
    },
    /// Nobody in particular.
    Anonymous,
}

/// A request. Path parameters are percent-decoded once and in the path's order.
#[derive(Clone, Debug)]
pub struct Request {
    /// What is asked.
    pub endpoint: Endpoint,
    /// Path parameters.
    pub parameters: Vec<(String, String)>,
    /// HTTP method.
    pub method: String,
    /// Path with query, as sent.
    pub target: String,
    /// Query, as sent, without `?`.
    pub query: String,
    /// Who calls.
    pub caller: Caller,
    /// The body.
    pub body: Vec<u8>,
    /// Unix milliseconds.
    pub received_at_ms: u64,
    /// Id that this transaction will have if it commits.
    pub transaction: TxId,
    /// The latest committed transaction.
    pub committed: TxId,
}

/// One call: the state, the host and the request, borrowed together.
#[derive(Clone, Copy)]
pub(crate) struct Call<'a> {
    pub(crate) state: &'a dyn Read,
    pub(crate) host: &'a dyn HostServices,
    pub(crate) wrapper: Wrapper<'a>,
    pub(crate) request: &'a Request,
}

impl Call<'_> {
    /// A path parameter as an identifier.
    pub(crate) fn id<T: FromStr<Err = InvalidIdentifier>>(&self, name: &str) -> Result<T, Refused> {
        let text = self
            .request
            .parameters
            .iter()
            .find(|(key, _)| key == name)
            .map_or("", |(_, value)| value.as_str());
        parse_id(name, text)
    }

    /// A path parameter as text.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.request
            .parameters
            .iter()
            .find(|(key, _)| key == name)
            .map_or("", |(_, value)| value.as_str())
    }

    /// The query's parameters, decoded.
    pub(crate) fn query(&self) -> Result<BTreeMap<String, String>, Refused> {
        parse_query(&self.request.query)
    }

    /// The body's text; an empty body is an empty object, and a byte order mark is no part of it.
    pub(crate) fn json(&self) -> &[u8] {
        match json::without_mark(&self.request.body) {
            [] => b"{}",
            text => text,
        }
    }

    /// The body as JSON.
    pub(crate) fn body<T: DeserializeOwned>(&self) -> Result<T, Refused> {
        serde_json::from_slice(self.json()).map_err(|e| {
            Refused::new(
                ErrorCode::InvalidInput,
                format!("the body is not of the expected form: {e}"),
            )
        })
    }

    /// Refuses a body that readers could understand differently: what people decide about must be
    /// the same for everybody.
    pub(crate) fn require_one_meaning(&self) -> Result<(), Refused> {
        require_one_meaning("the body", self.json())
    }

    /// The host's clock, Unix milliseconds.
    pub(crate) fn now_ms(&self) -> u64 {
        self.request.received_at_ms
    }
}

/// Refuses a JSON text in which a key occurs twice, or a number that would be rounded; `what` names
/// the text.
pub(crate) fn require_one_meaning(what: &str, text: &[u8]) -> Result<(), Refused> {
    let invalid = |e: &dyn std::fmt::Display| Refused::new(ErrorCode::InvalidInput, format!("{what}: {e}"));
    json::check_unique_keys(text).map_err(|e| invalid(&e))?;
    json::check_numbers(text).map_err(|e| invalid(&e))
}

/// An identifier from the path or a body.
pub(crate) fn parse_id<T: FromStr<Err = InvalidIdentifier>>(name: &str, text: &str) -> Result<T, Refused> {
    text.parse()
        .map_err(|e: InvalidIdentifier| Refused::new(ErrorCode::InvalidResourceName, format!("{name}: {e}")))
}

/// Most parameters in a query.
const QUERY_PARAMETERS_MAX: usize = 64;

fn parse_query(text: &str) -> Result<BTreeMap<String, String>, Refused> {
    let invalid = |why: String| Refused::new(ErrorCode::InvalidParameter, why);
    let mut parameters = BTreeMap::new();
    for (name, value) in percent::pairs(text).map_err(|e| invalid(e.to_string()))? {
        if parameters.len() >= QUERY_PARAMETERS_MAX {
            return Err(invalid("the query has too many parameters".to_owned()));
        }
        if parameters.insert(name.clone(), value).is_some() {
            return Err(invalid(format!("query parameter {name} is given twice")));
        }
    }
    Ok(parameters)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_decoded_once_and_empty_parts_are_harmless() {
        let query = parse_query("?&id=a%2Fb&x=1=2&&flag".trim_start_matches('?')).unwrap();
        assert_eq!(query.get("id").map(String::as_str), Some("a/b"));
        assert_eq!(query.get("x").map(String::as_str), Some("1=2"));
        assert_eq!(query.get("flag").map(String::as_str), Some(""));
        let query = parse_query("a=1+2%2B3").unwrap();
        assert_eq!(query.get("a").map(String::as_str), Some("1 2+3"));
    }

    #[test]
    fn repeated_keys_and_bad_escapes_are_refused() {
        for bad in ["a=1&a=2", "a=%", "a=%4", "a=%zz", "a=%ff"] {
            assert_eq!(
                parse_query(bad).unwrap_err().code,
                ErrorCode::InvalidParameter,
                "{bad}"
            );
        }
    }
}
