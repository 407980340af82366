//! What this ledger holds: `wit/history.wit`.

use ::kv::TxId;

use super::costs;
use crate::guests::CallState;
use crate::guests::app_bindings::concordat::host::history::{Host, TxId as GivenId};

/// Whether a transaction is committed here.
pub(crate) type History = Box<dyn Fn(TxId) -> bool + Send + Sync>;

impl Host for CallState {
    fn is_committed(&mut self, id: GivenId) -> wasmtime::Result<bool> {
        self.pay(costs::GET.of(0))?;
        // What is not committed now may be when the writer asks.
        self.saw_state = true;
        Ok(self.services.history()?(TxId::new(id.view, id.seqno)))
    }
}
