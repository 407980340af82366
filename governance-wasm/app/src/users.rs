//! Registered token users as they are read (`governance-api.md` §11.1).

use cleanroom_model::error_codes::ErrorCode;
use cleanroom_model::governance::{USER_IDENTITIES, UserIdentity};
use cleanroom_model::ids::Identifier;
use serde::Serialize;
use serde_json::json;

use crate::caller;
use crate::reply::{Answer, Refused, Reply};
use crate::request::Call;

#[derive(Serialize)]
struct View {
    id: Identifier,
    #[serde(flatten)]
    identity: UserIdentity,
}

/// `GET /users/identities`
pub(crate) fn list(call: &Call<'_>) -> Answer {
    caller::known(call)?;
    let value: Vec<View> = USER_IDENTITIES
        .rows(call.state)?
        .into_iter()
        .map(|row| View {
            id: row.key,
            identity: row.value.0,
        })
        .collect();
    Reply::json(&json!({ "value": value }))
}

/// `POST /users/identities/{identityId}`
pub(crate) fn read(call: &Call<'_>) -> Answer {
    caller::known(call)?;
    let id: Identifier = call.id("identityId")?;
    let identity = USER_IDENTITIES
        .get(call.state, &id)?
        .ok_or_else(|| {
            Refused::new(
                ErrorCode::UserIdentityNotFound,
                format!("there is no user identity {id}"),
            )
        })?
        .0;
    Reply::json(&View { id, identity })
}

/// `POST /users/identities/self/status`
pub(crate) fn own_status(call: &Call<'_>) -> Answer {
    caller::known(call)?;
    Reply::json(&json!({ "active": true }))
}
