//! The least firmware of each processor, beneath every policy (`governance-api.md` §6.3).

use cleanroom_model::actions::{RemoveMinimumTcb, SetMinimumTcb, SetMinimumTcbHex};
use cleanroom_model::tcb::{InvalidFloor, TcbFloor};
use kv::{Json, Write};
use model::tables::SNP_TCB_VERSIONS;

use crate::fault::Fault;

fn refused(error: &InvalidFloor) -> Fault {
    Fault::refused(error.to_string())
}

pub(crate) fn check_set(args: &SetMinimumTcb) -> Result<(), Fault> {
    if args.tcb_version.hexstring.is_some() {
        return Err(Fault::refused(
            "tcb_version names the parts; one number goes with set_snp_minimum_tcb_version_hex",
        ));
    }
    args.tcb_version.check(&args.cpuid).map_err(|e| refused(&e))
}

pub(crate) fn check_set_hex(args: &SetMinimumTcbHex) -> Result<(), Fault> {
    floor(args).map(|_| ())
}

fn floor(args: &SetMinimumTcbHex) -> Result<TcbFloor, Fault> {
    TcbFloor::from_hex(&args.cpuid, &args.tcb_version).map_err(|e| refused(&e))
}

fn put(state: &mut impl Write, cpuid: &str, floor: &TcbFloor) -> Result<(), Fault> {
    let row = serde_json::to_value(floor).map_err(|e| Fault::refused(e.to_string()))?;
    Ok(SNP_TCB_VERSIONS.put(state, &cpuid.to_owned(), &Json(row))?)
}

/// Sets a processor's floor, part by part.
pub(crate) fn set(state: &mut impl Write, args: &SetMinimumTcb) -> Result<(), Fault> {
    put(state, &args.cpuid, &args.tcb_version)
}

/// Sets a processor's floor from the printed form of a TCB.
pub(crate) fn set_hex(state: &mut impl Write, args: &SetMinimumTcbHex) -> Result<(), Fault> {
    put(state, &args.cpuid, &floor(args)?)
}

/// Takes a processor out of the table. As long as others are in it, its evidence is refused.
pub(crate) fn remove(state: &mut impl Write, args: &RemoveMinimumTcb) -> Result<(), Fault> {
    Ok(SNP_TCB_VERSIONS.remove(state, &args.cpuid)?)
}
