//! Who had a run admitted: the same launcher, and no other, delegates for it.

use cleanroom_model::ids::Identifier;
use cleanroom_model::policy::PolicyType;
use cleanroom_model::tables::RunRecord;

use crate::admission::Admitted;
use crate::alternatives::AdmittedBy;

/// A launcher, by the rule that admits it and its host data. Confidential VMs have no host data;
/// for them the rule alone says who they are.
#[derive(Clone, Debug, Default)]
pub(crate) struct Launcher {
    /// Absent if a member or user asks whether a run would be admitted.
    pub(crate) policy_type: Option<PolicyType>,
    pub(crate) alternative: Option<Identifier>,
    pub(crate) host_data: String,
}

impl Launcher {
    /// The launcher behind a request.
    pub(crate) fn of(admitted: &Admitted) -> Self {
        let (policy_type, alternative) = match &admitted.by {
            AdmittedBy::Alternative(placed) => (Some(placed.policy_type), Some(placed.id.clone())),
            AdmittedBy::Delegate(_) => (None, None),
        };
        Self {
            policy_type,
            alternative,
            host_data: admitted.subject.host_data.clone(),
        }
    }

    /// Whether it had this run admitted. Nobody known only in part did.
    pub(crate) fn has_admitted(&self, record: &RunRecord) -> bool {
        self.policy_type.is_some()
            && self.policy_type == record.launcher_policy_type
            && self.alternative.is_some()
            && self.alternative == record.launcher_alternative
            && self.host_data == record.launcher_host_data
    }
}
