"""Validates a ledger directory with the public Python package `ccf`.

Usage: validate_ledger.py LEDGER_DIR LAST_SEQNO

Every transaction of every chunk, open ones included, goes through the package's validator: Merkle
roots, node signatures, service signatures. The reader says "complete" on a directory of open chunks
it skipped, so the last seqno it must reach is an argument.
"""

import json
import sys

import ccf.ledger


def main() -> None:
    directory, last = sys.argv[1], int(sys.argv[2])
    validator = ccf.ledger.LedgerValidator(accept_deprecated_entry_types=False)
    ledger = ccf.ledger.Ledger([directory], committed_only=False)
    seen = 0
    for chunk in ledger:
        for transaction in chunk:
            validator.add_transaction(transaction)
            seen = transaction.gcm_header.seqno
    verified = validator.last_verified_seqno
    print(json.dumps({"last_seqno": seen, "last_verified_seqno": verified, "signatures": validator.signature_count}))
    if verified < last or seen < last:
        raise SystemExit(f"validated up to {verified} of {seen}, expected {last}")


if __name__ == "__main__":
    main()
