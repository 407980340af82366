//! When the ledger must be asked again whether the run may go on (decision 76): before data passes the
//! door, and now and then while none does, so that whoever ends a run ends the work, too.

use model::evidence::Platform;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use cleanroom_model::policy::PolicyType;

use crate::plan::RunError;
use crate::webhdfs::Access;

/// How old a look may be when a file is opened that is not the first of its input.
const AGE_MAX: Duration = Duration::from_secs(2);
/// The same where fresh evidence takes seconds by itself.
const AGE_MAX_CVM: Duration = Duration::from_secs(30);
/// Time between two looks while Spark works; as long as evidence is good where that takes seconds.
const INTERVAL: Duration = Duration::from_secs(10);

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
                PolicyType::Evidence(Platform::SnpCvm) => AGE_MAX_CVM,
                PolicyType::Evidence(Platform::SnpCaci)
                | PolicyType::Evidence(Platform::Virtual)
                | PolicyType::Jwt => AGE_MAX,
            },
            inputs: BTreeSet::new(),
            confirmed: None,
        }
    }

    /// Time between two looks that no open asks for.
    #[must_use]
    pub fn interval(&self) -> Duration {
        self.age_max.max(INTERVAL)
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

/// Ends with the refusal, when the ledger does not let the run go on any more.
pub async fn refusal(interval: Duration, ask: impl AsyncFn() -> Option<RunError>) -> RunError {
    loop {
        tokio::time::sleep(interval).await;
        if let Some(refusal) = ask().await {
            return refusal;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use cleanroom_model::analytics::FailureCode;

    use super::*;

    #[tokio::test]
    async fn a_run_that_is_ended_while_nothing_is_opened_ends() {
        let asked = Cell::new(0);
        let ask = async || {
            asked.set(asked.get() + 1);
            (asked.get() == 3).then(|| RunError::new(FailureCode::Cancelled, "ended"))
        };
        let refusal = refusal(Duration::from_millis(1), ask).await;
        assert_eq!((refusal.code, asked.get()), (FailureCode::Cancelled, 3));
        for (platform, seconds) in [
            (PolicyType::Evidence(Platform::SnpCaci), 10),
            (PolicyType::Evidence(Platform::SnpCvm), 30),
        ] {
            assert_eq!(Looks::new(platform).interval().as_secs(), seconds);
        }
    }

    fn read(view: &str) -> Access {
        Access::Read { view: view.into() }
    }

    #[test]
    fn the_first_open_of_each_input_takes_a_look_however_fresh_the_last_one_is() {
        let now = Instant::now();
        let mut looks = Looks::new(PolicyType::Evidence(Platform::SnpCaci));
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
            (PolicyType::Evidence(Platform::SnpCaci), 2),
            (PolicyType::Evidence(Platform::Virtual), AGE_MAX.as_secs()),
            (PolicyType::Evidence(Platform::SnpCvm), 30),
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
