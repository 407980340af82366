//! [`Permit`]: the right to release, as one value.
//!
//! Made from [`Admitted`] and the check of the workload's run; the only thing that can wrap, and
//! what it gives out it writes into the trace itself. So no handler releases anything without the
//! run check or without the event: there is nothing else to call.

use cleanroom_model::error_codes::ErrorCode;
use cleanroom_model::ids::RunId;
use cleanroom_model::runs::RunLooks;
use cleanroom_model::tables::{RUN_KEYS, RUN_LOOKS, RunRecord};
use kv::{Json, Pair, Write};
use model::evidence::Role;

use crate::admission::Admitted;
use crate::alternatives::AdmittedBy;
use crate::releases;
use crate::reply::{Failure, Fault, Refused, judged};
use crate::request::Call;
use crate::run_state;

pub(crate) mod wrapper;

/// A workload that may have something, for one purpose. Made by [`permit`] and nowhere else; gone
/// with what it releases.
pub(crate) struct Permit {
    admitted: Admitted,
    run: Option<RunRecord>,
}

/// What a pod's call is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Check {
    /// Something is given out: the run must be live and every consent on.
    Release,
    /// The pod reports; that is welcome even after the run was stopped.
    Report,
}

/// Lets an admitted workload have something: pods for as long as their run may go on.
///
/// Runs again on every call: the record's alternative, its time, and every consent.
pub(crate) fn permit(
    call: &Call<'_>,
    changes: &mut dyn Write,
    admitted: Admitted,
) -> Result<Permit, Failure> {
    let run = run_of(call, changes, &admitted, Check::Release)?;
    claim(call, changes, &admitted, run.as_ref())?;
    Ok(Permit { admitted, run })
}

/// [`permit`] for what `allows` finds room for, and what it found: by the rule that admits the
/// workload, or by the delegate that admits it for this purpose too.
pub(crate) fn permit_if<T>(
    call: &Call<'_>,
    changes: &mut dyn Write,
    admitted: Admitted,
    allows: impl Fn(&Admitted, Option<&RunRecord>) -> Result<T, Failure>,
) -> Result<(Permit, T), Failure> {
    let (admitted, (run, found)) = admitted.judged(call, changes, |admitted| {
        let run = run_if_pod(call, admitted, Check::Release)?;
        let found = allows(admitted, run.as_ref())?;
        Ok((run, found))
    })?;
    claim(call, changes, &admitted, run.as_ref())?;
    let permit = Permit { admitted, run };
    Ok((permit, found))
}

/// Whether an admitted workload may report, and of which run: pods about their own.
pub(crate) fn require_reporter(
    call: &Call<'_>,
    changes: &mut dyn Write,
    admitted: &Admitted,
) -> Result<Option<RunRecord>, Failure> {
    run_of(call, changes, admitted, Check::Report)
}

impl Permit {
    /// Who holds it.
    pub(crate) const fn admitted(&self) -> &Admitted {
        &self.admitted
    }

    /// The run that a pod acts for; `None` for workloads that are not limited to one.
    pub(crate) const fn run(&self) -> Option<&RunRecord> {
        self.run.as_ref()
    }

    /// A refusal on policy grounds: leaves a trace and uses up the nonce.
    pub(crate) fn refuse(&self, call: &Call<'_>, changes: &mut dyn Write, refused: Refused) -> Failure {
        self.admitted.refuse(call, changes, refused)
    }

    /// Gives `plain` out: wrapped to the bound key, as base64, with its event.
    pub(crate) fn release(
        self,
        call: &Call<'_>,
        changes: &mut dyn Write,
        plain: &[u8],
        audience: Option<&str>,
    ) -> Result<String, Failure> {
        let pem = self
            .admitted
            .key_pem()
            .ok_or_else(|| Refused::new(ErrorCode::EncryptionMissing, "encrypt.publicKey is missing"))?;
        let wrapped = call.wrapper.wrap(pem, plain).map_err(|e| {
            Refused::new(
                ErrorCode::InvalidInput,
                format!("cannot wrap to encrypt.publicKey: {e}"),
            )
        })?;
        self.trace(call, changes, audience)?;
        Ok(model::b64::encode(&wrapped))
    }

    /// Records that the workload had its way, where nothing is handed to it.
    pub(crate) fn granted(self, call: &Call<'_>, changes: &mut dyn Write) -> Result<(), Fault> {
        self.trace(call, changes, None)
    }

    /// Records a look at whether the run may go on: one row for each run, whatever the number of its
    /// looks.
    pub(crate) fn looked(self, call: &Call<'_>, changes: &mut dyn Write, run: &RunId) -> Result<(), Fault> {
        let key = Pair(self.admitted.contract, run.clone());
        let now = call.now_ms();
        let before = RUN_LOOKS.get(call.state, &key)?.map(|row| row.0);
        let looks = RunLooks {
            first: before.map_or(now, |looks| looks.first),
            last: now,
            count: before.map_or(1, |looks| looks.count.saturating_add(1)),
        };
        RUN_LOOKS.put(changes, &key, &Json(looks))?;
        Ok(())
    }

    fn trace(&self, call: &Call<'_>, changes: &mut dyn Write, audience: Option<&str>) -> Result<(), Fault> {
        let admitted = &self.admitted;
        releases::released(
            call,
            changes,
            &admitted.contract,
            &admitted.subject,
            admitted.run_id.as_ref(),
            &admitted.purpose,
            audience,
        )
    }
}

fn run_of(
    call: &Call<'_>,
    changes: &mut dyn Write,
    admitted: &Admitted,
    check: Check,
) -> Result<Option<RunRecord>, Failure> {
    judged(run_if_pod(call, admitted, check))?.map_err(|refused| admitted.refuse(call, changes, refused))
}

fn run_if_pod(call: &Call<'_>, admitted: &Admitted, check: Check) -> Result<Option<RunRecord>, Failure> {
    if admitted.role() != Some(Role::Pod) {
        return Ok(None);
    }
    permitted(call, admitted, check).map(Some)
}

/// The key of a pod that its run can belong to. Delegates are other workloads of the same run, let in
/// one by one.
fn own_key(call: &Call<'_>, admitted: &Admitted) -> Option<String> {
    let pem = match &admitted.by {
        AdmittedBy::Alternative(_) => admitted.key_pem()?,
        AdmittedBy::Delegate(_) => return None,
    };
    Some(call.host.sha256(pem.as_bytes()).to_string())
}

/// A run belongs to the first key that gets anything for it, which is the one that reads its record:
/// a second pod of the same kind learns nothing, and says nothing in its name.
fn require_own(call: &Call<'_>, admitted: &Admitted, record: &RunRecord) -> Result<(), Failure> {
    let key = Pair(admitted.contract.clone(), record.run_id.clone());
    let first = RUN_KEYS.get(call.state, &key)?.map(|row| row.0);
    match (first, own_key(call, admitted)) {
        (Some(first), Some(own)) if first != own => Err(Refused::new(
            ErrorCode::RunTaken,
            format!("run {} belongs to another key of its pod's kind", record.run_id),
        )
        .into()),
        _ => Ok(()),
    }
}

/// Gives a run to the key that gets something for it.
fn claim(
    call: &Call<'_>,
    changes: &mut dyn Write,
    admitted: &Admitted,
    run: Option<&RunRecord>,
) -> Result<(), Fault> {
    if let (Some(record), Some(own)) = (run, own_key(call, admitted)) {
        let key = Pair(admitted.contract.clone(), record.run_id.clone());
        if !RUN_KEYS.has(call.state, &key)? {
            RUN_KEYS.put(changes, &key, &Json(own))?;
        }
    }
    Ok(())
}

fn permitted(call: &Call<'_>, admitted: &Admitted, check: Check) -> Result<RunRecord, Failure> {
    let run = admitted.run_id.as_ref().ok_or_else(|| {
        Refused::new(
            ErrorCode::RunIdMissing,
            "workloads of role pod name their run (runId) in every call",
        )
    })?;
    let record = run_state::admitted_run(call, &admitted.contract, run)??;
    let own = match &admitted.by {
        AdmittedBy::Alternative(placed) => record.is_pod(placed.policy_type, &placed.id),
        AdmittedBy::Delegate(delegate) => delegate.run_id.as_ref() == Some(run),
    };
    if !own {
        return Err(Refused::new(
            ErrorCode::RunNotAdmitted,
            format!("run {run} is not this workload's"),
        )
        .into());
    }
    require_own(call, admitted, &record)?;
    if check == Check::Release {
        run_state::require_live(call, &admitted.contract, &record)?;
    }
    Ok(record)
}
