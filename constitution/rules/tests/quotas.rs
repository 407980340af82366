//! Quotas that members set for what one caller may keep in one contract.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::World;
use kv::Singleton;
use model::tables;
use serde_json::json;

/// What members may allow at the most, said here once more.
const QUOTA_ROWS_MAX: u64 = 1_000_000_000;
const QUOTA_BYTES_MAX: u64 = 1 << 40;

#[test]
fn quotas_are_taken_up_to_their_most_and_not_beyond() {
    for (name, most) in [("quota_rows", QUOTA_ROWS_MAX), ("quota_bytes", QUOTA_BYTES_MAX)] {
        for bad in [0, most + 1] {
            let mut world = World::new("ann");
            let reason = format!("{name} is 1 to {most}");
            world.refuses("set_service_configuration", json!({ name: bad }), &reason);
        }
        for good in [1, most] {
            let mut world = World::new("ann");
            world.carry("set_service_configuration", json!({ name: good }));
            let config = tables::SERVICE_CONFIG.get(&world, &Singleton).unwrap().unwrap().0;
            let set = [config.quota_rows, config.quota_bytes];
            assert!(set.contains(&Some(good)), "{name}: {set:?}");
            assert!(set.contains(&None), "the other one stays as it was");
        }
    }
}
