"""Verifies a receipt with the public Python package `ccf` against a service certificate.

Usage: verify_receipt.py RECEIPT_JSON SERVICE_CERT
"""

import hashlib
import json
import pathlib
import sys

import ccf.receipt
from cryptography.x509 import load_pem_x509_certificate


def main() -> None:
    receipt = json.loads(pathlib.Path(sys.argv[1]).read_text())
    service = load_pem_x509_certificate(pathlib.Path(sys.argv[2]).read_bytes())
    node = load_pem_x509_certificate(receipt["cert"].encode())
    parts = receipt["leaf_components"]
    commitment = hashlib.sha256(parts["commit_evidence"].encode()).digest()
    leaf = hashlib.sha256(
        bytes.fromhex(parts["write_set_digest"]) + commitment + bytes.fromhex(parts["claims_digest"])
    ).hexdigest()
    root = ccf.receipt.root(leaf, receipt["proof"])
    ccf.receipt.verify(root, receipt["signature"], node)
    endorsements = [load_pem_x509_certificate(pem.encode()) for pem in receipt.get("service_endorsements", [])]
    ccf.receipt.check_endorsements(node, service, endorsements)
    print(json.dumps({"root": root, "commit_evidence": parts["commit_evidence"]}))


if __name__ == "__main__":
    main()
