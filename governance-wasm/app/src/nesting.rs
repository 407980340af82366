//! How deep caller's JSON may be nested.
//!
//! What is stored is read again inside other objects: rows, answers, proposals. The parser refuses
//! 128 levels, so a text that just passes on its own could be written and never be read.

use cleanroom_model::error_codes::ErrorCode;
use serde_json::Value as JsonValue;

use crate::reply::Refused;

/// Most levels of arrays and objects in `data` of contracts, user documents and events: half of
/// what the parser takes, which leaves room for all that is ever put around it.
const DEPTH_MAX: usize = 64;

/// Refuses values that are nested too deep to be stored.
///
/// # Errors
///
/// `InvalidInput`.
pub(crate) fn require_shallow(name: &str, value: &JsonValue) -> Result<(), Refused> {
    if fits(value, DEPTH_MAX) {
        return Ok(());
    }
    Err(Refused::new(
        ErrorCode::InvalidInput,
        format!("{name} is nested deeper than {DEPTH_MAX} levels"),
    ))
}

/// Whether at most `levels` arrays and objects contain each other. The parser bounds the recursion.
fn fits(value: &JsonValue, levels: usize) -> bool {
    let Some(below) = levels.checked_sub(1) else {
        return !value.is_array() && !value.is_object();
    };
    match value {
        JsonValue::Array(items) => items.iter().all(|item| fits(item, below)),
        JsonValue::Object(fields) => fields.values().all(|field| fits(field, below)),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nested(levels: usize) -> JsonValue {
        (0..levels).fold(JsonValue::Null, |inner, _| JsonValue::Array(vec![inner]))
    }

    #[test]
    fn the_deepest_allowed_value_passes_and_one_level_more_does_not() {
        assert!(require_shallow("data", &nested(DEPTH_MAX)).is_ok());
        assert!(require_shallow("data", &nested(DEPTH_MAX + 1)).is_err());
    }
}
