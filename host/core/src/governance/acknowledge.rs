//! State digests and their acknowledgements: how a member becomes active (`ledger-host.md` §3.1,
//! `governance-api.md` §5.2).

use kv::{Json, Singleton};
use model::member::{MemberAck, MemberStatus};
use model::tables::{MEMBER_ACKS, MEMBER_INFO, SIGNATURES};
use model::{FrameworkError, MemberId, b64};
use serde::Deserialize;
use serde_json::json;

use super::{Governing, Refusal};
use crate::effects::Watched;
use crate::member_request::MemberRequest;
use crate::reply::Reply;

fn digest_reply(member: MemberId, digest: &str) -> Reply {
    Reply::json(200, &json!({"memberId": member, "stateDigest": digest}))
}

impl Governing<'_> {
    /// Records the latest root for the member to acknowledge. An old request must not do so again:
    /// it would take the place of a recorded acknowledgement.
    pub(super) fn update_state_digest(&mut self, request: &MemberRequest) -> Result<Reply, Refusal> {
        let member = request.signer();
        if self.is_latest_again(request)?
            && let Some(Json(ack)) = MEMBER_ACKS.get(&self.tx, &member)?
        {
            return Ok(digest_reply(member, &ack.state_digest));
        }
        let root = SIGNATURES
            .get(&self.tx, &Singleton)?
            .map(|row| row.0.root.to_string())
            .unwrap_or_default();
        let ack = MemberAck {
            state_digest: root.clone(),
            cose_sign1_req: None,
        };
        MEMBER_ACKS.put(&mut self.tx, &member, &Json(ack))?;
        self.record(request)?;
        Ok(digest_reply(member, &root))
    }

    /// Records the acknowledgement of the digest on record, once.
    pub(super) fn acknowledge(&mut self, request: &MemberRequest) -> Result<Reply, Refusal> {
        #[derive(Deserialize)]
        struct Body {
            #[serde(rename = "stateDigest")]
            state_digest: String,
        }
        let member = request.signer();
        let Some(Json(mut ack)) = MEMBER_ACKS.get(&self.tx, &member)? else {
            return Err(Refusal::new(
                FrameworkError::AuthorizationFailed,
                "there is no state digest to acknowledge; ask for one first",
            ));
        };
        let body: Body = serde_json::from_slice(request.payload()).map_err(|e| {
            Refusal::new(
                FrameworkError::InvalidInput,
                format!("the acknowledgement's body: {e}"),
            )
        })?;
        if body.state_digest != ack.state_digest {
            return Err(Refusal::new(
                FrameworkError::StateDigestMismatch,
                format!("the state digest on record is {}", ack.state_digest),
            ));
        }
        let Some(Json(mut info)) = MEMBER_INFO.get(&self.tx, &member)? else {
            return Err(Refusal::internal(format!(
                "member {member} has a certificate but no row"
            )));
        };
        let accepted = info.status == MemberStatus::Accepted;
        if ack.cose_sign1_req.is_some() && !accepted {
            return Ok(Reply::empty(204));
        }
        ack.cose_sign1_req = Some(b64::encode(request.envelope()));
        MEMBER_ACKS.put(&mut self.tx, &member, &Json(ack))?;
        if accepted {
            let before = Watched::read(&self.tx)?;
            info.status = MemberStatus::Active;
            MEMBER_INFO.put(&mut self.tx, &member, &Json(info))?;
            before
                .react(&mut self.tx, self.secrets, self.entropy)
                .map_err(Refusal::internal)?;
            self.members_changed = true;
        }
        Ok(Reply::empty(204))
    }
}
