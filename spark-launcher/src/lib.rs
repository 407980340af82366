//! Runs an agreed query as a Spark job, once the ledger shows that everyone concerned consents.
//!
//! [`routes`] answers whoever calls, [`requested`] finds what the ledger has for us, [`jobs`] remembers,
//! [`worker`] takes one job after another, has it admitted ([`admission`]) and has a pod carry it out;
//! [`ledger`] asks, [`query`] parses and looks at the SQL. The launcher holds no secret and sees no
//! data: it is [`identity`], a queue and a child process.

pub mod admission;
pub mod backends;
pub mod identity;
pub mod jobs;
pub mod ledger;
pub mod query;
pub mod refusal;
pub mod requested;
pub mod routes;
pub mod server;
pub mod worker;
