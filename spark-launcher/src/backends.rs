//! Where pods run. One module per place; only this machine is built so far.

pub mod local;
