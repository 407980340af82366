//! Every endpoint of the application, in the order that the component reports them.
//!
//! Numbers in comments are those of `governance-api.md` §2. Reading one thing is a POST, as
//! there. Whatever takes evidence is an update, since it uses up a nonce and leaves a trace
//! (decisions 3, 5), and `prepare`, since verdicts and RSA work must not hold up the writer
//! (decision 26). Where only `Anonymous` is listed the host authenticates nobody, also if
//! credentials are shown.

use model::endpoint::CallerKind::{Anonymous, Jwt, Member, User};
use model::endpoint::{CallerKind, Method, Mode, Spec};

const PUBLIC: &[CallerKind] = &[Anonymous];
const MEMBER: &[CallerKind] = &[Member];
const ANYONE_KNOWN: &[CallerKind] = &[Member, User, Jwt];
const KNOWN_OR_ATTESTED: &[CallerKind] = &[Member, User, Jwt, Anonymous];
const TOKEN: &[CallerKind] = &[Jwt];
const TOKEN_OR_ATTESTED: &[CallerKind] = &[Jwt, Anonymous];

macro_rules! endpoints {
    ($($(#[$doc:meta])* $name:ident: $method:ident $path:literal $mode:ident $callers:ident;)*) => {
        /// An endpoint.
        #[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
        pub enum Endpoint {
            $($(#[$doc])* $name,)*
        }

        impl Endpoint {
            /// Every endpoint; the position is its number on the host's side.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Method, path, mode and callers.
            #[must_use]
            pub const fn spec(self) -> Spec {
                match self {
                    $(Self::$name => spec(Method::$method, $path, Kind::$mode, $callers),)*
                }
            }
        }
    };
}

/// How an endpoint runs.
enum Kind {
    /// On a snapshot.
    Query,
    /// On the writer.
    Update,
    /// On the writer, after a discarded pass on a snapshot.
    Prepared,
}

const fn spec(method: Method, path: &'static str, kind: Kind, callers: &'static [CallerKind]) -> Spec {
    let (mode, prepare) = match kind {
        Kind::Query => (Mode::Query, false),
        Kind::Update => (Mode::Update, false),
        Kind::Prepared => (Mode::Update, true),
    };
    Spec {
        method,
        path,
        mode,
        callers,
        prepare,
    }
}

endpoints! {
    /// E01
    ListContracts: Get "/contracts" Query ANYONE_KNOWN;
    /// E02
    PutContract: Put "/contracts/{contractId}" Update MEMBER;
    /// E03
    ReadContract: Post "/contracts/{contractId}" Query ANYONE_KNOWN;
    /// E04
    ContractOptionStatus: Post "/contracts/{contractId}/runtimeoptions/{option}/status" Prepared KNOWN_OR_ATTESTED;
    /// E05
    EnableContractOption: Post "/contracts/{contractId}/runtimeoptions/{option}/enable" Update MEMBER;
    /// E06
    DisableContractOption: Post "/contracts/{contractId}/runtimeoptions/{option}/disable" Update MEMBER;
    /// E07
    ListEvents: Get "/contracts/{contractId}/events" Query ANYONE_KNOWN;
    /// E08
    PutEvent: Put "/contracts/{contractId}/events" Prepared TOKEN_OR_ATTESTED;
    /// E09
    ListSecrets: Get "/contracts/{contractId}/secrets" Query ANYONE_KNOWN;
    /// E10
    PutSecret: Put "/contracts/{contractId}/secrets/{secretName}" Prepared KNOWN_OR_ATTESTED;
    /// E11; the path's last part is the full secret id.
    ReleaseSecret: Post "/contracts/{contractId}/secrets/{secretName}" Prepared PUBLIC;
    /// E12
    ReadPolicy: Post "/contracts/{contractId}/cleanroompolicy" Query ANYONE_KNOWN;
    /// E13
    ListDelegates: Get "/contracts/{contractId}/cleanroompolicy/delegates" Query ANYONE_KNOWN;
    /// E14
    ReadDelegate: Post "/contracts/{contractId}/cleanroompolicy/delegates/{delegateType}/{delegateId}" Query ANYONE_KNOWN;
    /// E15
    PutDelegate: Put "/contracts/{contractId}/cleanroompolicy/delegates/{delegateType}/{delegateId}" Prepared PUBLIC;
    /// E18
    IssueToken: Post "/contracts/{contractId}/oauth/token" Prepared PUBLIC;
    /// E24
    ListUserDocuments: Get "/contracts/{contractId}/userdocuments" Query ANYONE_KNOWN;
    /// E25
    PutUserDocument: Put "/contracts/{contractId}/userdocuments/{documentId}" Update ANYONE_KNOWN;
    /// E26
    ReadUserDocument: Post "/contracts/{contractId}/userdocuments/{documentId}" Query ANYONE_KNOWN;
    /// E27
    ReleaseUserDocument: Post "/contracts/{contractId}/userdocuments/accepted/{documentId}" Prepared PUBLIC;
    /// Decision 2. A document called `accepted` is refused at PUT, so no path means two things.
    BallotUserDocument: Post "/contracts/{contractId}/userdocuments/{documentId}/ballot" Update ANYONE_KNOWN;
    /// E44
    UserDocumentOptionStatus: Post "/contracts/{contractId}/userdocuments/{documentId}/runtimeoptions/{option}/status" Prepared KNOWN_OR_ATTESTED;
    /// E45
    EnableUserDocumentOption: Post "/contracts/{contractId}/userdocuments/{documentId}/runtimeoptions/{option}/enable" Update ANYONE_KNOWN;
    /// E46
    DisableUserDocumentOption: Post "/contracts/{contractId}/userdocuments/{documentId}/runtimeoptions/{option}/disable" Update ANYONE_KNOWN;
    /// E34
    ListUserIdentities: Get "/users/identities" Query ANYONE_KNOWN;
    /// E35
    OwnIdentityStatus: Post "/users/identities/self/status" Query TOKEN;
    /// E36
    ReadUserIdentity: Post "/users/identities/{identityId}" Query ANYONE_KNOWN;
    /// E47
    ReadUserProposal: Post "/users/proposals/{proposalId}" Query ANYONE_KNOWN;
    /// E48
    PutUserProposal: Put "/users/proposals/{proposalId}" Update ANYONE_KNOWN;
    /// E49
    UserProposalStatus: Post "/users/proposals/{proposalId}/status" Query ANYONE_KNOWN;
    /// E50
    WithdrawUserProposal: Post "/users/proposals/{proposalId}/withdraw" Update ANYONE_KNOWN;
    /// E51
    BallotUserProposal: Post "/users/proposals/{proposalId}/ballots/submit" Update ANYONE_KNOWN;
    /// E52
    OidcConfiguration: Get "/oidc/.well-known/openid-configuration" Query PUBLIC;
    /// E53
    OidcKeys: Get "/oidc/keys" Query PUBLIC;
    /// E54
    GenerateOidcKey: Post "/oidc/generateSigningKey" Prepared MEMBER;
    /// E55
    SetIssuerUrl: Post "/oidc/setIssuerUrl" Update ANYONE_KNOWN;
    /// E56
    IssuerInfo: Post "/oidc/issuerInfo" Query ANYONE_KNOWN;
    /// Decision 25
    ContractOidcConfiguration: Get "/contracts/{contractId}/oidc/.well-known/openid-configuration" Query PUBLIC;
    /// Decision 25
    ContractOidcKeys: Get "/contracts/{contractId}/oidc/keys" Query PUBLIC;
    /// Decision 25
    GenerateContractOidcKey: Post "/contracts/{contractId}/oidc/generateSigningKey" Prepared MEMBER;
    /// E59
    ServiceOptionStatus: Post "/runtimeoptions/{option}/status" Query ANYONE_KNOWN;
    /// Decision 16
    MintNonce: Post "/attestation/nonce" Query PUBLIC;
    /// Decision 45
    PutRunRequest: Put "/contracts/{contractId}/queries/{queryId}/runs/{runId}" Update ANYONE_KNOWN;
    /// Decision 45
    ReadRunRequest: Get "/contracts/{contractId}/queries/{queryId}/runs/{runId}" Query ANYONE_KNOWN;
    /// Decision 45
    CancelRun: Post "/contracts/{contractId}/queries/{queryId}/runs/{runId}/cancel" Update ANYONE_KNOWN;
    /// Decision 45
    ListRuns: Post "/contracts/{contractId}/runs" Prepared PUBLIC;
    /// Decision 45
    PutRowCount: Put "/contracts/{contractId}/userdocuments/{documentId}/runs/{runId}" Prepared PUBLIC;
    /// Decision 45
    ReadRowCount: Get "/contracts/{contractId}/userdocuments/{documentId}/runs/{runId}" Query ANYONE_KNOWN;
    /// Decision 22
    AdmitRun: Post "/contracts/{contractId}/queries/{queryId}/runs/{runId}" Prepared PUBLIC;
    /// Decision 22
    Prerequisites: Post "/contracts/{contractId}/queries/{queryId}/prerequisites" Prepared KNOWN_OR_ATTESTED;
    /// Decision 22
    ReadRun: Post "/contracts/{contractId}/runs/{runId}" Prepared PUBLIC;
    /// Decision 76
    CheckRun: Post "/contracts/{contractId}/runs/{runId}/check" Prepared PUBLIC;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_endpoints_share_method_and_path() {
        let mut seen = std::collections::BTreeSet::new();
        for endpoint in Endpoint::ALL {
            let spec = endpoint.spec();
            assert!(seen.insert((spec.method, spec.path)), "{endpoint:?}");
        }
    }

    #[test]
    fn whatever_may_take_evidence_is_a_prepared_update() {
        use Endpoint as E;
        let public_reads = [
            E::OidcConfiguration,
            E::OidcKeys,
            E::ContractOidcConfiguration,
            E::ContractOidcKeys,
            E::MintNonce,
        ];
        for endpoint in Endpoint::ALL {
            let spec = endpoint.spec();
            let takes_evidence = spec.callers.contains(&Anonymous) && !public_reads.contains(endpoint);
            assert!(
                !takes_evidence || (spec.mode == Mode::Update && spec.prepare),
                "{endpoint:?}"
            );
        }
    }

    #[test]
    fn every_endpoint_has_callers() {
        for endpoint in Endpoint::ALL {
            assert!(!endpoint.spec().callers.is_empty(), "{endpoint:?}");
        }
    }
}
