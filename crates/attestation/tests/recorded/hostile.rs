//! Evidence cut short or made up: refused, at every length, without a panic.

use attestation::{Evidence, Memo, Trust, verify_memoised};
use crypto::native::Native;
use model::b64;
use model::evidence::Platform;
use proptest::prelude::{any, prop, proptest};
use serde_json::{Value, json};

use crate::common::{NOW, bytes, confidential_vm, container_group};

static MEMO: Memo = Memo::new(2);

fn is_accepted(platform: Platform, attestation: &Value) -> bool {
    let evidence = Evidence {
        platform,
        attestation,
    };
    verify_memoised(&evidence, &Trust::production(), NOW, &Native, &MEMO).is_ok()
}

fn replaced(attestation: &Value, pointer: &str, content: &[u8]) -> Value {
    let mut altered = attestation.clone();
    *altered.pointer_mut(pointer).unwrap() = json!(b64::encode(content));
    altered
}

#[test]
fn evidence_that_is_cut_short_is_refused_at_every_length() {
    let group = container_group("encryption");
    let machine = confidential_vm();
    for (platform, attestation, pointer) in [
        (Platform::SnpCaci, &group, "/evidence"),
        (Platform::SnpCaci, &group, "/uvm_endorsements"),
        (Platform::SnpCvm, &machine, "/evidence/tpmQuote"),
        (Platform::SnpCvm, &machine, "/evidence/hclReport"),
    ] {
        assert!(is_accepted(platform, attestation));
        let whole = bytes(attestation.pointer(pointer).unwrap());
        // Zeros behind the runtime claims are padding, so there may be fewer of them.
        let content = if pointer.ends_with("hclReport") {
            1 + whole.iter().rposition(|byte| *byte != 0).unwrap()
        } else {
            whole.len()
        };
        for size in 0..content {
            let cut = replaced(attestation, pointer, &whole[..size]);
            assert!(!is_accepted(platform, &cut), "{pointer}, {size} bytes");
        }
    }
}

proptest! {
    #[test]
    fn made_up_bytes_are_refused_wherever_they_stand(content in prop::collection::vec(any::<u8>(), 0..3000)) {
        let group = container_group("encryption");
        for pointer in ["/evidence", "/endorsements", "/uvm_endorsements"] {
            assert!(!is_accepted(Platform::SnpCaci, &replaced(&group, pointer, &content)), "{pointer}");
        }
        let machine = confidential_vm();
        for pointer in ["/evidence/tpmQuote", "/evidence/hclReport", "/evidence/snpReport"] {
            assert!(!is_accepted(Platform::SnpCvm, &replaced(&machine, pointer, &content)), "{pointer}");
        }
    }

    #[test]
    fn bytes_written_over_genuine_ones_are_refused_or_change_nothing(
        at in 0_usize..2600,
        content in prop::collection::vec(any::<u8>(), 1..64),
    ) {
        let machine = confidential_vm();
        for pointer in ["/evidence/tpmQuote", "/evidence/hclReport"] {
            let genuine = bytes(machine.pointer(pointer).unwrap());
            let mut altered = genuine.clone();
            for (target, byte) in altered.iter_mut().skip(at).zip(&content) {
                *target = *byte;
            }
            let accepted = is_accepted(Platform::SnpCvm, &replaced(&machine, pointer, &altered));
            assert_eq!(accepted, altered == genuine, "{pointer}");
        }
    }
}
