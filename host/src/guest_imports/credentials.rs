//! `credentials`: certificates, token keys and components, read for the constitution.
//!
//! Pure functions of their arguments, so that an auditor who runs the constitution again gets the
//! same answers.

use crypto::jwk::{Judged, judge};
use crypto::pem;
use crypto::spki::{KeyKind, public_key_from_pem, spki_key_kind};
use crypto::x509::Certificate as ParsedCertificate;

use super::costs;
use crate::guests::constitution_bindings::concordat::host::credentials::{
    Certificate, Host, Route, RsaKey, TokenKey,
};
use crate::guests::{CallState, LoadError, inspect_application, inspect_constitution};

/// Longest JWK, in bytes: an RSA-4096 key with a certificate chain fits.
const JWK_BYTES_MAX: usize = 64 * 1024;

impl Host for CallState {
    fn read_certificate(&mut self, pem: String) -> wasmtime::Result<Result<Certificate, String>> {
        self.pay(costs::READ_CERTIFICATE.of(pem.len()))?;
        Ok(ParsedCertificate::from_pem(&pem)
            .map_err(|e| e.to_string())
            .map(|certificate| Certificate {
                id: certificate.id().to_string(),
                key_kind: match certificate.key_kind() {
                    KeyKind::EcP256 => "ec-p256",
                    KeyKind::EcP384 => "ec-p384",
                    KeyKind::EcP521 => "ec-p521",
                    KeyKind::Rsa(_) => "rsa",
                    KeyKind::Other => "other",
                }
                .to_owned(),
                not_before: certificate.not_before(),
                not_after: certificate.not_after(),
                pem: certificate.to_pem(),
            }))
    }

    fn read_rsa_key(&mut self, public_key_pem: String) -> wasmtime::Result<Result<RsaKey, String>> {
        self.pay(costs::READ_KEY.of(public_key_pem.len()))?;
        let spki = public_key_from_pem(&public_key_pem).map_err(|e| e.to_string());
        Ok(spki.and_then(|spki| {
            Ok(RsaKey {
                bits: bits_of(&spki)?,
                pem: pem::encode(pem::PUBLIC_KEY, &spki),
            })
        }))
    }

    fn read_token_key(&mut self, jwk_json: String) -> wasmtime::Result<Result<TokenKey, String>> {
        self.pay(costs::READ_JWK.of(jwk_json.len()))?;
        if jwk_json.len() > JWK_BYTES_MAX {
            return Ok(Err(format!("the key has more than {JWK_BYTES_MAX} bytes")));
        }
        let jwk = serde_json::from_str(&jwk_json).map_err(|e| e.to_string());
        let judged = jwk.and_then(|jwk| judge(&jwk).map_err(|e| e.to_string()));
        Ok(judged.map(|judged| match judged {
            Judged::Usable { spki } => TokenKey::Usable(spki),
            Judged::Skipped(reason) => TokenKey::Skipped(reason),
        }))
    }

    fn inspect_application(
        &mut self,
        component: Vec<u8>,
    ) -> wasmtime::Result<Result<(String, Vec<Route>), String>> {
        self.pay(costs::INSPECT.of(component.len()))?;
        let inspected = inspect_application(&self.services.loader, &self.services, &component);
        if let Err(busy @ LoadError::Busy(_)) = inspected {
            // Not an answer about the component: the call as a whole has to be tried again.
            return Err(busy.into());
        }
        Ok(inspected.map_err(|e| e.to_string()).and_then(|(digest, routes)| {
            let route = |route: crate::guests::Route| {
                let mut row = serde_json::to_value(&route.row).map_err(|e| e.to_string())?;
                if let Some(fields) = row.as_object_mut() {
                    fields.remove("component");
                }
                Ok(Route {
                    method: route.method,
                    path: route.path,
                    row_json: row.to_string(),
                })
            };
            let routes = routes.into_iter().map(route).collect::<Result<_, String>>()?;
            Ok((digest.to_string(), routes))
        }))
    }

    fn inspect_constitution(&mut self, component: Vec<u8>) -> wasmtime::Result<Result<String, String>> {
        self.pay(costs::INSPECT.of(component.len()))?;
        let inspected = inspect_constitution(&self.services.loader, &component);
        Ok(inspected
            .map(|digest| digest.to_string())
            .map_err(|e| e.to_string()))
    }
}

fn bits_of(spki: &[u8]) -> Result<u32, String> {
    match spki_key_kind(spki).map_err(|e| e.to_string())? {
        KeyKind::Rsa(bits) => Ok(bits),
        other => Err(format!("a {other} key, not an RSA key")),
    }
}
