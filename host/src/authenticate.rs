//! Who is calling the application: certificate, token, or nobody.
//!
//! An endpoint lists the policies it takes; they are tried in order and the first success wins.
//! A credential that was shown and is not good never turns its bearer into an anonymous caller, on
//! any endpoint, whether its list looks at such credentials or not.
//! Governance requests are authenticated by their own signature, in `host_core`.

use host_core::reply::Reply;
use host_core::{Caller, Principal};
use http::header;
use kv::Read;
use model::endpoint::CallerKind;
use model::member::MemberStatus;
use model::tables::{MEMBER_CERTS, MEMBER_INFO, USER_CERTS, USER_INFO};
use model::{Digest, FrameworkError, MemberId, UserId};
use serde_json::json;

use crate::https::{PeerCertificate, Request, Standing};
use crate::jwt::Tokens;

/// Why one policy did not succeed.
enum Miss {
    /// The caller showed nothing that the policy looks at.
    Absent(&'static str),
    /// It showed something, and that is not good.
    Bad(String),
}

/// The caller of an endpoint with these policies, or the 401 that says what each found.
///
/// `now` is Unix seconds.
pub(crate) fn caller(
    state: &(impl Read + ?Sized),
    tokens: &Tokens,
    request: &Request,
    policies: &[CallerKind],
    now: u64,
) -> Result<Caller, Reply> {
    let mut misses = Vec::new();
    for policy in policies {
        let tried = match policy {
            CallerKind::Member => by_certificate(request, now, |id| member(state, id)),
            CallerKind::User => by_certificate(request, now, |id| user(state, id)),
            CallerKind::Jwt => by_token(state, tokens, request, now),
            CallerKind::Anonymous => anonymous(state, tokens, request, policies, now),
        };
        match tried {
            Ok(caller) => return Ok(caller),
            Err(miss) => misses.push((*policy, miss)),
        }
    }
    Err(unauthenticated(&misses))
}

/// Nobody in particular: whoever showed nothing. Where only nobody is expected, and therefore
/// nobody's credentials matter, good ones do no harm; bad ones are refused there too.
fn anonymous(
    state: &(impl Read + ?Sized),
    tokens: &Tokens,
    request: &Request,
    policies: &[CallerKind],
    now: u64,
) -> Result<Caller, Miss> {
    let alone = policies.iter().all(|policy| *policy == CallerKind::Anonymous);
    let bad = |what: &str| Err(Miss::Bad(format!("{what} was shown, and it is not good here")));
    if request.certificate.is_some() {
        let good = by_certificate(request, now, |id| Ok(member(state, id)?.or(user(state, id)?))).is_ok();
        if !(alone && good) {
            return bad("a client certificate");
        }
    }
    if request.headers.contains_key(header::AUTHORIZATION) {
        let good = by_token(state, tokens, request, now).is_ok();
        if !(alone && good) {
            return bad("an authorization header");
        }
    }
    Ok(Caller::Anonymous)
}

fn unauthenticated(misses: &[(CallerKind, Miss)]) -> Reply {
    let error = FrameworkError::InvalidAuthenticationInfo;
    let details = misses
        .iter()
        .map(|(policy, miss)| {
            let message = match miss {
                Miss::Absent(text) => text,
                Miss::Bad(text) => text.as_str(),
            };
            json!({"auth_policy": policy.policy(), "code": error.code(), "message": message})
        })
        .collect();
    let reply = Reply::error_with(error, "Invalid authentication credentials.", details);
    if misses.iter().any(|(policy, _)| *policy == CallerKind::Jwt) {
        reply.with_header(
            "www-authenticate",
            "Bearer realm=\"JWT bearer token access\", error=\"invalid_token\"",
        )
    } else {
        reply
    }
}

fn by_certificate(
    request: &Request,
    now: u64,
    look_up: impl FnOnce(Digest) -> Result<Option<Caller>, kv::TableError>,
) -> Result<Caller, Miss> {
    let certificate: &PeerCertificate = request
        .certificate
        .as_deref()
        .ok_or(Miss::Absent("no client certificate was shown"))?;
    if now < certificate.not_before || now > certificate.not_after {
        return Err(Miss::Bad(
            "the client certificate is not valid at this time".to_owned(),
        ));
    }
    look_up(certificate.id)
        .map_err(|e| {
            tracing::error!(error = %e, "cannot read who holds a certificate");
            Miss::Bad("the service's records cannot be read".to_owned())
        })?
        .ok_or_else(|| Miss::Bad("the client certificate belongs to nobody this endpoint takes".to_owned()))
}

/// What the holder of a certificate is to the service at `now`, Unix seconds. A state that cannot be
/// read knows nobody.
pub(crate) fn standing(state: &(impl Read + ?Sized), certificate: &PeerCertificate, now: u64) -> Standing {
    if now < certificate.not_before || now > certificate.not_after {
        return Standing::Stranger;
    }
    if MEMBER_CERTS
        .has(state, &MemberId(certificate.id))
        .unwrap_or(false)
    {
        Standing::Member
    } else if USER_CERTS.has(state, &UserId(certificate.id)).unwrap_or(false) {
        Standing::User
    } else {
        Standing::Stranger
    }
}

fn member(state: &(impl Read + ?Sized), id: Digest) -> Result<Option<Caller>, kv::TableError> {
    let id = MemberId(id);
    let Some(info) = MEMBER_INFO.get(state, &id)? else {
        return Ok(None);
    };
    if !MEMBER_CERTS.has(state, &id)? {
        return Ok(None);
    }
    Ok(Some(Caller::Member(Principal {
        id: id.to_string(),
        data_json: info.0.member_data.unwrap_or_default().to_string(),
        active: info.0.status == MemberStatus::Active,
    })))
}

fn user(state: &(impl Read + ?Sized), id: Digest) -> Result<Option<Caller>, kv::TableError> {
    let id = UserId(id);
    if !USER_CERTS.has(state, &id)? {
        return Ok(None);
    }
    let info = USER_INFO.get(state, &id)?.unwrap_or_default();
    Ok(Some(Caller::User(Principal {
        id: id.to_string(),
        data_json: info.0.user_data.to_string(),
        active: true,
    })))
}

fn by_token(
    state: &(impl Read + ?Sized),
    tokens: &Tokens,
    request: &Request,
    now: u64,
) -> Result<Caller, Miss> {
    let mut headers = request.headers.get_all(header::AUTHORIZATION).iter();
    let header = headers
        .next()
        .ok_or(Miss::Absent("no authorization header was sent"))?;
    if headers.next().is_some() {
        return Err(Miss::Bad(
            "more than one authorization header was sent".to_owned(),
        ));
    }
    let token = header
        .to_str()
        .ok()
        .and_then(|text| text.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim())
        .ok_or_else(|| Miss::Bad("the authorization header is not a bearer token".to_owned()))?;
    tokens
        .verify(state, token, now)
        .map_err(|e| Miss::Bad(e.to_string()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use host_core::Transaction;
    use kv::store::Store;
    use kv::{Context, Json, Raw, TxId};
    use model::member::{MemberInfo, UserInfo};

    use super::*;

    const NOW: u64 = 1_800_000_000;
    const ALL: [CallerKind; 4] = [
        CallerKind::Member,
        CallerKind::User,
        CallerKind::Jwt,
        CallerKind::Anonymous,
    ];

    fn state() -> Transaction {
        let mut state = Transaction::new(Store::default(), Context::Host, TxId::new(2, 1));
        let (ann, uma) = (MemberId(Digest([1; 32])), UserId(Digest([2; 32])));
        let info = MemberInfo {
            status: MemberStatus::Accepted,
            member_data: None,
            recovery_role: None,
        };
        MEMBER_CERTS.put(&mut state, &ann, &Raw(Vec::new())).unwrap();
        MEMBER_INFO.put(&mut state, &ann, &Json(info)).unwrap();
        USER_CERTS.put(&mut state, &uma, &Raw(Vec::new())).unwrap();
        USER_INFO
            .put(&mut state, &uma, &Json(UserInfo::default()))
            .unwrap();
        state
    }

    fn request(certificate: Option<u8>, authorization: Option<&str>) -> Request {
        let mut headers = http::HeaderMap::new();
        if let Some(value) = authorization {
            headers.insert(header::AUTHORIZATION, value.parse().unwrap());
        }
        Request {
            method: http::Method::GET,
            uri: http::Uri::from_static("/app/x"),
            headers,
            body: crate::https::Body::default(),
            source: crate::asker::Source::of(std::net::Ipv4Addr::LOCALHOST.into()),
            certificate: certificate.map(|byte| {
                Arc::new(PeerCertificate {
                    id: Digest([byte; 32]),
                    not_before: NOW - 10,
                    not_after: NOW + 10,
                })
            }),
        }
    }

    fn try_at(now: u64, request: &Request, policies: &[CallerKind]) -> Result<Caller, u16> {
        caller(&state(), &Tokens::new(), request, policies, now).map_err(|reply| reply.status)
    }

    #[test]
    fn policies_are_tried_in_order() {
        let member = try_at(NOW, &request(Some(1), None), &ALL).unwrap();
        assert!(matches!(member, Caller::Member(principal) if !principal.active));
        let user = try_at(NOW, &request(Some(2), None), &ALL).unwrap();
        assert!(matches!(user, Caller::User(_)));
        assert_eq!(try_at(NOW, &request(None, None), &ALL), Ok(Caller::Anonymous));
    }

    #[test]
    fn a_bad_credential_never_degrades_to_nobody() {
        assert_eq!(try_at(NOW, &request(Some(9), None), &ALL), Err(401));
        assert_eq!(try_at(NOW, &request(None, Some("Bearer x.y.z")), &ALL), Err(401));
        assert_eq!(try_at(NOW, &request(None, Some("Basic eDp5")), &ALL), Err(401));
    }

    #[test]
    fn a_credential_that_no_policy_of_the_endpoint_takes_is_refused_before_nobody_is_tried() {
        // As of PUT …/events: a token or nobody. Not even a member's certificate passes as nobody.
        let events = [CallerKind::Jwt, CallerKind::Anonymous];
        for certificate in [1, 2, 9] {
            assert_eq!(
                try_at(NOW, &request(Some(certificate), None), &events),
                Err(401),
                "{certificate}"
            );
        }
        assert_eq!(
            try_at(NOW, &request(None, Some("Bearer x.y.z")), &events),
            Err(401)
        );
        assert_eq!(try_at(NOW, &request(None, None), &events), Ok(Caller::Anonymous));
    }

    #[test]
    fn on_endpoints_for_everybody_good_credentials_do_no_harm_and_bad_ones_are_refused() {
        let public = [CallerKind::Anonymous];
        for (certificate, authorization, expected) in [
            (None, None, Ok(Caller::Anonymous)),
            (Some(1), None, Ok(Caller::Anonymous)),
            (Some(2), None, Ok(Caller::Anonymous)),
            (Some(9), None, Err(401)),
            (None, Some("Bearer x"), Err(401)),
            (None, Some("Basic eDp5"), Err(401)),
            (Some(1), Some("Bearer x"), Err(401)),
        ] {
            let request = request(certificate, authorization);
            assert_eq!(
                try_at(NOW, &request, &public),
                expected,
                "{certificate:?} {authorization:?}"
            );
        }
        assert_eq!(try_at(NOW + 11, &request(Some(1), None), &public), Err(401));
    }

    #[test]
    fn two_authorization_headers_are_not_one_credential() {
        let mut twice = request(None, Some("Bearer x.y.z"));
        twice
            .headers
            .append(header::AUTHORIZATION, "Bearer a.b.c".parse().unwrap());
        let reply = caller(&state(), &Tokens::new(), &twice, &ALL, NOW).unwrap_err();
        assert!(String::from_utf8_lossy(&reply.body).contains("more than one"));
    }

    #[test]
    fn an_expired_certificate_is_nobodys() {
        assert_eq!(try_at(NOW + 11, &request(Some(1), None), &ALL), Err(401));
        assert_eq!(try_at(NOW - 11, &request(Some(1), None), &ALL), Err(401));
    }

    #[test]
    fn a_401_says_what_each_policy_found() {
        let reply = caller(&state(), &Tokens::new(), &request(None, None), &ALL[..3], NOW).unwrap_err();
        let body: model::ErrorBody = serde_json::from_slice(&reply.body).unwrap();
        assert_eq!(body.error.code, "InvalidAuthenticationInfo");
        assert_eq!(body.error.details.len(), 3);
    }
}
