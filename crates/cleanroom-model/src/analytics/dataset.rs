//! The dataset document: schema, what may be seen of it, where it lies and how it is encrypted.
//! A sink has the same shape.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{DocumentError, bounded};

/// Most fields in one schema.
pub const FIELD_COUNT_MAX: usize = 1024;

/// A file format that Spark reads and writes.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Comma separated, no header on read, an empty field is null.
    Csv,
    /// One JSON object per line.
    Json,
    /// Apache Parquet.
    Parquet,
}

impl Format {
    /// The extension of its files, without a dot; also Spark's name for it.
    #[must_use]
    pub fn extension(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Json => "json",
            Self::Parquet => "parquet",
        }
    }
}

/// A column type. Unknown names are refused, never read as text.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FieldType {
    /// Text.
    String,
    /// 32-bit whole number.
    Integer,
    /// 64-bit whole number.
    Long,
    /// Double.
    #[serde(alias = "double")]
    Number,
    /// True or false.
    Boolean,
    /// A day.
    Date,
    /// A moment.
    Timestamp,
}

/// A column.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Field {
    /// Its name.
    pub field_name: String,
    /// Its type.
    pub field_type: FieldType,
}

/// Whether the dataset is an input or a sink.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AccessMode {
    /// An input.
    Read,
    /// A sink.
    Write,
}

/// What happens when a run asks for days and the dataset has no dated folder among them.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DateFallback {
    /// The run fails.
    #[default]
    Fail,
    /// Everything is read.
    All,
}

/// An owner's floors under every query on the dataset (spark-analytics §10).
///
/// Unknown members are refused: what cannot be enforced must not look agreed.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PrivacyPolicy {
    /// The dataset is only used when it has at least this many rows.
    pub min_input_rows: Option<u64>,
    /// The result must be filtered by a count of at least this.
    pub min_group_size: Option<u64>,
    /// The result must be filtered by some count.
    pub require_aggregation: bool,
}

/// A kind of object store.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum StoreType {
    /// A directory of this machine; only for the `local` back end (decision 39).
    LocalFileSystem,
}

/// Where the bytes lie.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Store {
    /// The kind.
    pub kind: StoreType,
    /// Its address: `file:///…`.
    pub url: String,
}

/// How the bytes rest.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Encryption {
    /// As the store keeps them.
    StoreSide,
    /// Encrypted by the owner; the key is the ledger secret of this id (decision 39).
    ClientSide {
        /// Secret id of the data key.
        dek_secret: String,
    },
}

/// Where a dataset lies and how it is protected.
#[derive(Clone, Debug)]
pub struct AccessPoint {
    /// Its name.
    pub name: String,
    /// The store.
    pub store: Store,
    /// Only this prefix of the store is touched; empty for all of it.
    pub subdirectory: String,
    /// How bytes rest.
    pub encryption: Encryption,
    /// Owner's floors.
    pub privacy: PrivacyPolicy,
}

/// A dataset or sink document, spark-analytics §9.2.
#[derive(Clone, Debug)]
pub struct DatasetDocument {
    /// Its name.
    pub name: String,
    /// Format of its files.
    pub format: Format,
    /// All columns, in the order of the files.
    pub fields: Vec<Field>,
    /// Input or sink.
    pub mode: AccessMode,
    /// The columns a query sees or may write; never empty, all in `fields`.
    pub allowed_fields: Vec<String>,
    /// What to do without dated folders.
    pub date_fallback: DateFallback,
    /// Where and how.
    pub access_point: AccessPoint,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    name: String,
    dataset_schema: WireSchema,
    dataset_access_policy: WirePolicy,
    dataset_access_point: WireAccessPoint,
}

#[derive(Deserialize)]
struct WireSchema {
    format: Format,
    fields: Vec<Field>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WirePolicy {
    access_mode: AccessMode,
    #[serde(default)]
    allowed_fields: Vec<String>,
    #[serde(default)]
    date_fallback: DateFallback,
}

#[derive(Deserialize)]
struct WireAccessPoint {
    name: String,
    #[serde(default)]
    subdirectory: Option<String>,
    store: WireStore,
    protection: WireProtection,
}

#[derive(Deserialize)]
struct WireStore {
    #[serde(rename = "type")]
    kind: String,
    provider: WireProvider,
}

#[derive(Deserialize)]
struct WireProvider {
    protocol: String,
    #[serde(default)]
    url: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireProtection {
    #[serde(default)]
    privacy_policy: Option<PrivacyPolicy>,
    #[serde(default)]
    configuration: String,
    #[serde(default)]
    encryption_secrets: Option<WireSecrets>,
}

#[derive(Deserialize)]
struct WireSecrets {
    dek: Option<WireDek>,
    #[serde(default)]
    kek: Option<serde_json::Value>,
}

/// A data key: named directly, or as the backing resource of a described secret.
#[derive(Deserialize)]
#[serde(untagged)]
enum WireDek {
    Cgs(WireCgs),
    Described { secret: WireSecret },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireSecret {
    backing_resource: WireCgs,
}

#[derive(Deserialize)]
struct WireCgs {
    #[serde(rename = "type")]
    kind: String,
    name: String,
    provider: WireProvider,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct WireEncryption {
    #[serde(default)]
    key_type: Option<String>,
    #[serde(default)]
    encryption_mode: Option<String>,
}

impl DatasetDocument {
    /// Parses the `data` of a dataset or sink document.
    ///
    /// # Errors
    ///
    /// What breaks the form or a rule of it.
    pub fn parse(text: &str) -> Result<Self, DocumentError> {
        let wire: Wire = bounded(text)?;
        check_fields(&wire.dataset_schema.fields)?;
        let policy = wire.dataset_access_policy;
        check_allowed(&policy.allowed_fields, &wire.dataset_schema.fields)?;
        Ok(Self {
            name: wire.name,
            format: wire.dataset_schema.format,
            fields: wire.dataset_schema.fields,
            mode: policy.access_mode,
            allowed_fields: policy.allowed_fields,
            date_fallback: policy.date_fallback,
            access_point: access_point(wire.dataset_access_point)?,
        })
    }
}

fn check_fields(fields: &[Field]) -> Result<(), DocumentError> {
    let what = "datasetSchema.fields";
    if fields.is_empty() || fields.len() > FIELD_COUNT_MAX {
        return Err(DocumentError::rule(
            what,
            format!("must be 1 to {FIELD_COUNT_MAX}"),
        ));
    }
    let mut seen = BTreeSet::new();
    for field in fields {
        let name = &field.field_name;
        let plain = name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_- ".contains(&b));
        if name.is_empty() || name.len() > 128 || !plain {
            return Err(DocumentError::rule(
                what,
                "names are 1 to 128 ASCII letters, digits, underscores, hyphens and spaces",
            ));
        }
        if !seen.insert(name.to_ascii_lowercase()) {
            return Err(DocumentError::rule(what, format!("{name} occurs twice")));
        }
    }
    Ok(())
}

fn check_allowed(allowed: &[String], fields: &[Field]) -> Result<(), DocumentError> {
    if allowed.is_empty() {
        return Err(DocumentError::AllowedFieldsNotSpecified);
    }
    let mut seen = BTreeSet::new();
    for name in allowed {
        if !fields.iter().any(|field| field.field_name == *name) || !seen.insert(name) {
            return Err(DocumentError::rule(
                "datasetAccessPolicy.allowedFields",
                format!("{name} is not a field of the schema, or is listed twice"),
            ));
        }
    }
    Ok(())
}

fn access_point(wire: WireAccessPoint) -> Result<AccessPoint, DocumentError> {
    let kind = match (wire.store.kind.as_str(), wire.store.provider.protocol.as_str()) {
        ("Local_FileSystem", "Local_FileSystem") => StoreType::LocalFileSystem,
        (kind, _) => {
            return Err(DocumentError::rule(
                "datasetAccessPoint.store.type",
                format!("{kind} is not supported; use Local_FileSystem for type and protocol"),
            ));
        }
    };
    let url = wire.store.provider.url;
    if !url.starts_with("file:///") || url.contains(['%', '?', '#']) {
        return Err(DocumentError::rule(
            "datasetAccessPoint.store.provider.url",
            "must be file:/// and an absolute path without escapes",
        ));
    }
    let subdirectory = wire.subdirectory.unwrap_or_default();
    if [url.as_str(), subdirectory.as_str()]
        .iter()
        .any(|path| path.split('/').any(|part| part == ".."))
    {
        return Err(DocumentError::rule(
            "datasetAccessPoint",
            "paths must not climb with ..",
        ));
    }
    Ok(AccessPoint {
        name: wire.name,
        store: Store { kind, url },
        subdirectory: subdirectory.trim_matches('/').to_owned(),
        encryption: encryption(&wire.protection)?,
        privacy: wire.protection.privacy_policy.unwrap_or_default(),
    })
}

fn encryption(wire: &WireProtection) -> Result<Encryption, DocumentError> {
    let what = "datasetAccessPoint.protection.configuration";
    let configuration: WireEncryption = if wire.configuration.is_empty() {
        WireEncryption::default()
    } else {
        let bytes = model::b64::decode(&wire.configuration)
            .map_err(|_| DocumentError::Base64("datasetAccessPoint.protection.configuration"))?;
        serde_json::from_slice(&bytes)?
    };
    match configuration.encryption_mode.as_deref() {
        None | Some("SSE")
            if wire
                .encryption_secrets
                .as_ref()
                .is_none_or(|secrets| secrets.dek.is_none()) =>
        {
            Ok(Encryption::StoreSide)
        }
        Some("CSE") if configuration.key_type.as_deref() == Some("DEK") => client_side(wire),
        mode => Err(DocumentError::rule(
            what,
            format!(
                "EncryptionMode {} with this KeyType and these keys is not supported; \
                 use CSE with KeyType DEK and a dek, or SSE without keys",
                mode.unwrap_or("(none)")
            ),
        )),
    }
}

fn client_side(wire: &WireProtection) -> Result<Encryption, DocumentError> {
    let what = "datasetAccessPoint.protection.encryptionSecrets";
    let secrets = wire
        .encryption_secrets
        .as_ref()
        .ok_or_else(|| DocumentError::rule(what, "must hold dek"))?;
    if secrets.kek.as_ref().is_some_and(|kek| !kek.is_null()) {
        return Err(DocumentError::rule(
            what,
            "kek must be absent when the key type is DEK",
        ));
    }
    let cgs = match &secrets.dek {
        Some(
            WireDek::Cgs(cgs)
            | WireDek::Described {
                secret: WireSecret {
                    backing_resource: cgs,
                },
            },
        ) => cgs,
        None => return Err(DocumentError::rule(what, "must hold dek")),
    };
    let id_ok = !cgs.name.is_empty()
        && cgs.name.len() <= 128
        && cgs
            .name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    if cgs.kind != "Cgs" || cgs.provider.protocol != "Cgs_Secret" || !id_ok {
        return Err(DocumentError::rule(
            format!("{what}.dek"),
            "must be of type Cgs, protocol Cgs_Secret, and name a secret id",
        ));
    }
    Ok(Encryption::ClientSide {
        dek_secret: cgs.name.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> serde_json::Value {
        serde_json::json!({
            "name": "ds1",
            "datasetSchema": {"format": "csv", "fields": [
                {"fieldName": "author", "fieldType": "string"}, {"fieldName": "n", "fieldType": "number"}]},
            "datasetAccessPolicy": {"accessMode": "read", "allowedFields": ["author"]},
            "datasetAccessPoint": {"name": "ds1", "type": "Volume_ReadOnly", "path": "", "subdirectory": "/a/",
                "store": {"name": "s", "id": "s", "type": "Local_FileSystem",
                    "provider": {"protocol": "Local_FileSystem", "url": "file:///data", "configuration": ""}},
                "protection": {"proxyMode": "Secure", "privacyPolicy": {"minInputRows": 5},
                    "configuration": model::b64::encode(br#"{"KeyType":"DEK","EncryptionMode":"CSE"}"#),
                    "encryptionSecrets": {"dek": {"type": "Cgs", "name": "flights-dek",
                        "provider": {"protocol": "Cgs_Secret"}}}}}
        })
    }

    fn check(pointer: &str, value: serde_json::Value) -> Result<DatasetDocument, DocumentError> {
        let mut document = sample();
        *document.pointer_mut(pointer).unwrap() = value;
        DatasetDocument::parse(&document.to_string())
    }

    #[test]
    fn a_local_encrypted_dataset_is_understood() {
        let dataset = DatasetDocument::parse(&sample().to_string()).unwrap();
        assert_eq!(
            dataset.access_point.encryption,
            Encryption::ClientSide {
                dek_secret: "flights-dek".into()
            }
        );
        assert_eq!(dataset.access_point.subdirectory, "a");
        assert_eq!(dataset.access_point.privacy.min_input_rows, Some(5));
        let described = serde_json::json!({"name": "k", "secret": {"secretType": "Key", "backingResource":
            {"type": "Cgs", "name": "other", "provider": {"protocol": "Cgs_Secret"}}}});
        let dataset = check("/datasetAccessPoint/protection/encryptionSecrets/dek", described).unwrap();
        assert_eq!(
            dataset.access_point.encryption,
            Encryption::ClientSide {
                dek_secret: "other".into()
            }
        );
    }

    #[test]
    fn what_cannot_be_enforced_is_refused() {
        for (pointer, value) in [
            ("/datasetSchema/fields/0/fieldType", "decimal".into()),
            ("/datasetSchema/fields/0/fieldName", "N".into()),
            ("/datasetSchema/fields/0/fieldName", "a`b".into()),
            ("/datasetSchema/format", "orc".into()),
            ("/datasetAccessPolicy/allowedFields", serde_json::json!([])),
            ("/datasetAccessPolicy/allowedFields", serde_json::json!(["other"])),
            ("/datasetAccessPoint/store/type", "Azure_OneLake".into()),
            ("/datasetAccessPoint/store/provider/url", "file://host/x".into()),
            ("/datasetAccessPoint/store/provider/url", "file:///a/../b".into()),
            ("/datasetAccessPoint/subdirectory", "../b".into()),
            (
                "/datasetAccessPoint/protection/privacyPolicy",
                serde_json::json!({"epsilonPerRun": 1}),
            ),
            ("/datasetAccessPoint/protection/configuration", "".into()),
            ("/datasetAccessPoint/protection/configuration", "%".into()),
            (
                "/datasetAccessPoint/protection/encryptionSecrets",
                serde_json::Value::Null,
            ),
            (
                "/datasetAccessPoint/protection/encryptionSecrets/dek/name",
                "a/b".into(),
            ),
            (
                "/datasetAccessPoint/protection/encryptionSecrets/dek/type",
                "Vault".into(),
            ),
        ] {
            assert!(check(pointer, value.clone()).is_err(), "{pointer} {value}");
        }
    }
}
