//! [`Permit`]: the right to release, as one value.
//!
//! Made from [`Admitted`] and the check of the workload's run; the only thing that can wrap, and
//! what it gives out it writes into the trace itself. So no handler releases anything without the
//! run check or without the event: there is nothing else to call.

use cleanroom_model::error_codes::ErrorCode;
use cleanroom_model::policy::WorkloadRole;
use cleanroom_model::tables::RunRecord;
use kv::Write;

use crate::admission::Admitted;
use crate::alternatives::AdmittedBy;
use crate::releases::{self, Purpose};
use crate::reply::Refusal;
use crate::request::Call;
use crate::run_state;

pub(crate) mod wrapper;

/// A workload that may have something, for one purpose. Made by [`permit`] and nowhere else; gone
/// with what it releases.
pub(crate) struct Permit<'a> {
    admitted: Admitted,
    run: Option<RunRecord>,
    purpose: Purpose<'a>,
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
pub(crate) fn permit<'a>(
    call: &Call<'_>,
    changes: &mut dyn Write,
    admitted: Admitted,
    purpose: Purpose<'a>,
) -> Result<Permit<'a>, Refusal> {
    let run = run_of(call, changes, &admitted, purpose, Check::Release)?;
    Ok(Permit {
        admitted,
        run,
        purpose,
    })
}

/// [`permit`] for what `allows` finds room for, and what it found: by the rule that admits the
/// workload, or by the delegate that admits it for this purpose too.
pub(crate) fn permit_if<'a, T>(
    call: &Call<'_>,
    changes: &mut dyn Write,
    admitted: Admitted,
    purpose: Purpose<'a>,
    allows: impl Fn(&Admitted, Option<&RunRecord>) -> Result<T, Refusal>,
) -> Result<(Permit<'a>, T), Refusal> {
    let (admitted, (run, found)) = admitted.judged(call, changes, purpose, |admitted| {
        let run = run_if_pod(call, admitted, Check::Release)?;
        let found = allows(admitted, run.as_ref())?;
        Ok((run, found))
    })?;
    let permit = Permit {
        admitted,
        run,
        purpose,
    };
    Ok((permit, found))
}

/// Whether an admitted workload may report: pods about their own run.
pub(crate) fn require_reporter(
    call: &Call<'_>,
    changes: &mut dyn Write,
    admitted: &Admitted,
    purpose: Purpose<'_>,
) -> Result<(), Refusal> {
    run_of(call, changes, admitted, purpose, Check::Report).map(drop)
}

impl Permit<'_> {
    /// Who holds it.
    pub(crate) const fn admitted(&self) -> &Admitted {
        &self.admitted
    }

    /// The run that a pod acts for; `None` for workloads that are not limited to one.
    pub(crate) const fn run(&self) -> Option<&RunRecord> {
        self.run.as_ref()
    }

    /// A refusal on policy grounds: leaves a trace and uses up the nonce.
    pub(crate) fn refuse(&self, call: &Call<'_>, changes: &mut dyn Write, refusal: Refusal) -> Refusal {
        self.admitted.refuse(call, changes, self.purpose, refusal)
    }

    /// Gives `plain` out: wrapped to the bound key, as base64, with its event.
    pub(crate) fn release(
        self,
        call: &Call<'_>,
        changes: &mut dyn Write,
        plain: &[u8],
        audience: Option<&str>,
    ) -> Result<String, Refusal> {
        let pem = self
            .admitted
            .key_pem()
            .ok_or_else(|| Refusal::new(ErrorCode::EncryptionMissing, "encrypt.publicKey is missing"))?;
        let wrapped = call.wrapper.wrap(pem, plain).map_err(|e| {
            Refusal::new(
                ErrorCode::InvalidInput,
                format!("cannot wrap to encrypt.publicKey: {e}"),
            )
        })?;
        self.trace(call, changes, audience)?;
        Ok(model::b64::encode(&wrapped))
    }

    /// Records that the workload had its way, where nothing is handed to it.
    pub(crate) fn granted(self, call: &Call<'_>, changes: &mut dyn Write) -> Result<(), Refusal> {
        self.trace(call, changes, None)
    }

    fn trace(&self, call: &Call<'_>, changes: &mut dyn Write, audience: Option<&str>) -> Result<(), Refusal> {
        let Admitted {
            contract,
            subject,
            run_id,
            ..
        } = &self.admitted;
        releases::released(
            call,
            changes,
            contract,
            subject,
            run_id.as_ref(),
            self.purpose,
            audience,
        )
    }
}

fn run_of(
    call: &Call<'_>,
    changes: &mut dyn Write,
    admitted: &Admitted,
    purpose: Purpose<'_>,
    check: Check,
) -> Result<Option<RunRecord>, Refusal> {
    match run_if_pod(call, admitted, check) {
        Ok(run) => Ok(run),
        Err(refusal) if refusal.code == ErrorCode::InternalError => Err(refusal),
        Err(refusal) => Err(admitted.refuse(call, changes, purpose, refusal)),
    }
}

fn run_if_pod(call: &Call<'_>, admitted: &Admitted, check: Check) -> Result<Option<RunRecord>, Refusal> {
    if admitted.role() != Some(WorkloadRole::Pod) {
        return Ok(None);
    }
    permitted(call, admitted, check).map(Some)
}

fn permitted(call: &Call<'_>, admitted: &Admitted, check: Check) -> Result<RunRecord, Refusal> {
    let run = admitted.run_id.as_ref().ok_or_else(|| {
        Refusal::new(
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
        return Err(Refusal::new(
            ErrorCode::RunNotAdmitted,
            format!("run {run} is not this workload's"),
        ));
    }
    if check == Check::Release {
        run_state::require_live(call, &admitted.contract, &record)?;
    }
    Ok(record)
}
