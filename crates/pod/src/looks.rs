//! When the ledger must be asked again whether the run may go on (decision 76).

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use cleanroom_model::policy::PolicyType;

use crate::webhdfs::Access;

/// How old a look may be when a file is opened that is not the first of its input.
const AGE_MAX: Duration = Duration::from_secs(2);
/// The same where fresh evidence takes seconds by itself.
const AGE_MAX_CVM: Duration = Duration::from_secs(30);

/// What the ledger has confirmed so far.
#[derive(Debug)]
pub struct Looks {
    age_max: Duration,
    /// Inputs of which a file was opened.
    inputs: BTreeSet<String>,
    confirmed: Option<Instant>,
}

impl Looks {
    /// Nothing is confirmed yet. `platform` is that of the pod's own evidence.
    #[must_use]
    pub const fn new(platform: PolicyType) -> Self {
        Self {
            age_max: match platform {
                PolicyType::SnpCvm => AGE_MAX_CVM,
                PolicyType::SnpCaci | PolicyType::Virtual | PolicyType::Jwt => AGE_MAX,
            },
            inputs: BTreeSet::new(),
            confirmed: None,
        }
    }

    /// Whether this open takes a new look: the first of each input always does.
    #[must_use]
    pub fn is_due(&self, access: &Access, now: Instant) -> bool {
        let is_first = matches!(access, Access::Read { view } if !self.inputs.contains(view));
        is_first
            || self
                .confirmed
                .is_none_or(|at| now.saturating_duration_since(at) > self.age_max)
    }

    /// The ledger was asked at `asked`, for this open, and said yes.
    pub fn confirm(&mut self, access: Access, asked: Instant) {
        if let Access::Read { view } = access {
            self.inputs.insert(view);
        }
        self.confirmed = Some(asked);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(view: &str) -> Access {
        Access::Read { view: view.into() }
    }

    #[test]
    fn the_first_open_of_each_input_takes_a_look_however_fresh_the_last_one_is() {
        let now = Instant::now();
        let mut looks = Looks::new(PolicyType::SnpCaci);
        assert!(looks.is_due(&Access::Write, now), "nothing is confirmed");
        looks.confirm(Access::Write, now);
        for view in ["a", "b"] {
            assert!(looks.is_due(&read(view), now), "{view}");
            looks.confirm(read(view), now);
            assert!(!looks.is_due(&read(view), now), "{view}");
        }
        assert!(!looks.is_due(&Access::Write, now));
    }

    #[test]
    fn a_look_is_good_for_two_seconds_and_thirty_in_confidential_vms() {
        for (platform, seconds) in [
            (PolicyType::SnpCaci, 2),
            (PolicyType::Virtual, AGE_MAX.as_secs()),
            (PolicyType::SnpCvm, 30),
        ] {
            let asked = Instant::now();
            let mut looks = Looks::new(platform);
            looks.confirm(read("a"), asked);
            let last = asked + Duration::from_secs(seconds);
            assert!(!looks.is_due(&read("a"), last), "{platform:?}");
            assert!(
                looks.is_due(&read("a"), last + Duration::from_millis(1)),
                "{platform:?}"
            );
        }
    }
}
