//! Registered token users as they are read (`governance-api.md` §11.1).

use cleanroom_model::error_codes::ErrorCode;
use cleanroom_model::governance::{USER_IDENTITIES, UserIdentity};
use cleanroom_model::ids::Identifier;
use kv::Json;
use kv::codec::{Key as _, Value as _};
use serde::Serialize;
use serde_json::json;

use crate::caller;
use crate::lists;
use crate::reply::{Answer, Fault, Refused, Reply};
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
    let page = lists::rows(call, USER_IDENTITIES.name(), &[], lists::after(call, &[])?)?;
    let mut value = Vec::new();
    for row in page.rows {
        let corrupt = |e: kv::codec::Malformed| Fault::new(e.to_string());
        value.push(View {
            id: Identifier::from_bytes(&row.key).map_err(corrupt)?,
            identity: Json::<UserIdentity>::from_bytes(&row.value).map_err(corrupt)?.0,
        });
    }
    lists::reply(call, &[], value, page.next.as_deref())
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
