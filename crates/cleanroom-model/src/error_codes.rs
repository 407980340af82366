//! Error codes of the application: the text on the wire and the status of each
//! (`governance-api.md` §19, `attestation-secrets-oidc.md` §1.2, §2, §3; README decisions 2, 16, 18, 22).

use serde::{Deserialize, Serialize};

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $status:literal,)*) => {
        /// The application's error codes; their texts are API. What is our own fault has none: callers
        /// learn `InternalError` and nothing more.
        #[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
        pub enum ErrorCode {
            $($(#[$doc])* $name,)*
        }

        impl ErrorCode {
            /// Every code.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The code on the wire.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }

            /// The HTTP status it is answered with.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self { $(Self::$name => $status,)* }
            }
        }
    };
}

codes! {
    /// Malformed JSON, base64 or argument.
    InvalidInput = 400,
    /// An id in the path is outside the alphabet of identifiers.
    InvalidResourceName = 400,
    /// A query parameter is malformed.
    InvalidParameter = 400,
    /// `data` is mandatory.
    DataMissing = 400,
    /// Kept for clients: no contract is named.
    ContractIdMissing = 400,
    /// Path and body, or path and object, name different contracts.
    ContractIdMismatch = 400,
    /// The contract has not been voted yet.
    ContractNotAccepted = 400,
    /// `requiredMembers` of a draft is malformed or names someone who does not vote.
    InvalidRequiredMembers = 400,
    /// No such runtime option.
    InvalidOption = 400,
    /// No such runtime option of a user document.
    InvalidUserDocumentRuntimeOption = 400,
    /// The document has not been accepted by all its approvers.
    UserDocumentNotAccepted = 400,
    /// A consent of the document is switched off.
    UserDocumentRuntimeOptionDisabled = 400,
    /// Execution of the contract is switched off.
    ContractDisabled = 400,
    /// Approvers are unknown or named twice.
    InvalidApprovers = 400,
    /// A user proposal names no approvers.
    ApproversMissing = 400,
    /// A user proposal's list of approvers is empty.
    EmptyApprovers = 400,
    /// No such kind of user proposal.
    InvalidProposalType = 400,
    /// A user proposal names no document.
    InvalidUserDocumentId = 400,
    /// A ballot is neither `accepted` nor `rejected`.
    InvalidBallotValue = 400,
    /// Clean-room claims are malformed or not allowed.
    InvalidPolicy = 400,
    /// The request carries no evidence.
    AttestationMissing = 400,
    /// The request names no key to wrap the answer to.
    EncryptionMissing = 400,
    /// The request is not signed.
    SignatureMissing = 400,
    /// The request carries no time.
    TimestampMissing = 400,
    /// The time has more than 13 digits.
    TimestampTooLarge = 400,
    /// The time is more than five minutes off.
    TimestampOutOfRange = 400,
    /// The platform is unknown or not accepted by this node.
    UnsupportedPlatform = 400,
    /// Evidence does not verify, or its claims do not satisfy the policy.
    VerifySnpAttestationFailed = 400,
    /// A token's claims do not satisfy the policy.
    VerifyJwtAttestationFailed = 400,
    /// Evidence binds another key, or another nonce.
    ReportDataMismatch = 400,
    /// The signature is not of this request under the attested key.
    SignatureMismatch = 400,
    /// A nonce is needed: no alternative of the policy takes evidence without one.
    NonceMissing = 400,
    /// The nonce is malformed, foreign, expired or used.
    NonceInvalid = 400,
    /// A workload limited to a run names none.
    RunIdMissing = 400,
    /// A secret's value is missing or empty.
    ValueMissing = 400,
    /// A secret's value is longer than 25,600 characters.
    ValueTooLarge = 400,
    /// An issuer URL is malformed.
    InvalidUrl = 400,
    /// The caller belongs to no tenant.
    NoTenantId = 400,
    /// The caller's way of authentication is unknown here.
    UnknownAuthenticationPolicy = 400,
    /// A query document is empty or unreadable.
    InvalidQueryFormat = 400,
    /// A dataset document is empty or unreadable.
    InvalidDatasetFormat = 400,
    /// A query names a dataset that does not exist.
    DatasetMissing = 400,
    /// A query names a sink that does not exist, or that is no sink.
    DatasinkMissing = 400,
    /// A dataset exposes no fields.
    AllowedFieldsNotSpecified = 400,
    /// A run's dates are malformed.
    InvalidDateFormat = 400,
    /// A run's dates are in the wrong order, or only one is given.
    InvalidDateRange = 400,
    /// A run's parameters are not those that the query declares.
    InvalidRunParameters = 400,
    /// Somebody whose data is used has not agreed to the query.
    QueryMissingApprovalsFromDatasetOwners = 400,
    /// A dataset names a secret that its owner did not put.
    UnexpectedSecretIdFormat = 400,
    /// The query is weaker than an owner's privacy floors.
    PrivacyFloorNotMet = 400,
    /// Evidence was not presented by anybody who may.
    InvalidAuthenticationInfo = 401,
    /// The token's user is not registered.
    CallerNotAuthorized = 403,
    /// The token's tenant is not the registered one.
    CallerTenantNotAuthorized = 403,
    /// The member has not acknowledged the state it joined.
    MemberNotActive = 403,
    /// Only the proposer may.
    NotProposalOwner = 403,
    /// Only approvers of the proposal may.
    NotProposalApprover = 403,
    /// Only approvers of the document may.
    NotUserDocumentApprover = 403,
    /// Only the document's creator may.
    NotUserDocumentOwner = 403,
    /// The workload's role does not include this.
    RoleNotAllowed = 403,
    /// The run is unknown, was refused, or is another workload's.
    RunNotAdmitted = 403,
    /// The run's time is over.
    RunExpired = 403,
    /// The run's record does not list what was asked for.
    NotInRun = 403,
    /// The query's runners do not include the caller.
    NotARunner = 403,
    /// Nobody asked for this run, or nobody does any more.
    RunNotRequested = 403,
    /// Its asker, an owner or an approver ended the run.
    RunCancelled = 403,
    /// The run belongs to another workload's key.
    RunTaken = 403,
    /// Neither policy, delegate nor run allows a token for this subject and audience.
    TokenNotAllowed = 403,
    /// No such contract.
    ContractNotFound = 404,
    /// No such user document, or not one that may be read here.
    UserDocumentNotFound = 404,
    /// No such user proposal.
    ProposalNotFound = 404,
    /// No such registered user.
    UserIdentityNotFound = 404,
    /// No such secret.
    SecretNotFound = 404,
    /// No such run.
    RunNotFound = 404,
    /// Accepted contracts are immutable.
    ContractAlreadyAccepted = 405,
    /// Accepted documents are immutable.
    UserDocumentAlreadyAccepted = 405,
    /// Rejected documents stay rejected.
    UserDocumentRejected = 405,
    /// Members have not enabled an issuer.
    OidcIssuerNotEnabled = 405,
    /// The issuer has no key yet.
    SigningKeyNotAvailable = 405,
    /// The issuer has no address yet.
    IssuerUrlNotSet = 405,
    /// The contract exists; its version is needed to change it.
    ContractAlreadyExists = 409,
    /// The contract is being voted on.
    ContractProposed = 409,
    /// The document exists; its version is needed to change it.
    UserDocumentAlreadyExists = 409,
    /// The document is being voted on.
    UserDocumentAlreadyProposed = 409,
    /// The document is not the one that was read.
    UserDocumentModified = 409,
    /// The proposal id is taken.
    ProposalAlreadyExists = 409,
    /// The user proposal is closed.
    ProposalNotOpen = 409,
    /// This approver has voted.
    BallotAlreadySubmitted = 409,
    /// The run id was used for another request.
    RunIdInUse = 409,
    /// What the asker has seen of this service is not in its ledger.
    ServiceForked = 409,
    /// Somebody else put a secret under this id.
    SecretIdInUse = 409,
    /// The version sent is not the current one.
    PreconditionFailed = 412,
    /// The caller has as much of this as one caller may have.
    QuotaExceeded = 429,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_an_error_status_and_a_name_of_its_own() {
        let mut names = std::collections::BTreeSet::new();
        for code in ErrorCode::ALL {
            assert!((400..500).contains(&code.status()), "{code:?}");
            assert!(names.insert(code.as_str()), "{code:?}");
            let text = serde_json::to_string(code).unwrap();
            assert_eq!(text, format!("\"{}\"", code.as_str()));
            assert_eq!(serde_json::from_str::<ErrorCode>(&text).unwrap(), *code);
        }
    }
}
