"""A small OpenID provider for the demo's three data stewards, over HTTPS.

Usage: identity_provider.py DIR

Makes an RS256 key and a certificate for 127.0.0.1, serves discovery and key set on a free port,
and writes into DIR: issuer.json {"issuer", "jwks", "users": {name: sub}}, provider_cert.pem, and one
token per steward (NAME.token, readable by the owner only). Ends when standard input closes.
"""

import datetime
import http.server
import ipaddress
import json
import os
import pathlib
import ssl
import sys
import threading
import time
import uuid

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

STEWARDS = ["airline", "airport", "registry"]
AUDIENCE = "concordat"
LIFETIME_S = 3600


def write_private(path: pathlib.Path, data: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(data)


def tls_context(directory: pathlib.Path) -> ssl.SSLContext:
    """A fresh self-signed certificate for this process."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "demo identity provider")])
    now = datetime.datetime.now(datetime.timezone.utc)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, hashes.SHA256())
    )
    certificate_path = directory / "provider_cert.pem"
    certificate_path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_path = directory / "provider_key.pem"
    write_private(
        key_path,
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate_path, key_path)
    return context


def main() -> None:
    directory = pathlib.Path(sys.argv[1])
    directory.mkdir(parents=True, exist_ok=True)
    signing_key = rsa.generate_private_key(public_exponent=65537, key_size=3072)
    kid = uuid.uuid4().hex
    public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(signing_key.public_key()))
    jwks = {"keys": [{"kid": kid, "use": "sig", "alg": "RS256", **{k: public[k] for k in ("kty", "n", "e")}}]}

    documents = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            document = documents.get(self.path)
            self.send_response(200 if document else 404)
            self.send_header("content-type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(document or {}).encode())

        def log_message(self, *_args) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = tls_context(directory).wrap_socket(server.socket, server_side=True)
    issuer = f"https://127.0.0.1:{server.server_port}"
    documents["/.well-known/openid-configuration"] = {
        "issuer": issuer,
        "jwks_uri": f"{issuer}/keys",
        "response_types_supported": ["id_token"],
        "id_token_signing_alg_values_supported": ["RS256"],
    }
    documents["/keys"] = jwks

    now = int(time.time())
    users = {}
    for name in STEWARDS:
        users[name] = str(uuid.uuid4())
        claims = {
            "iss": issuer,
            "aud": AUDIENCE,
            "sub": users[name],
            "name": f"data steward of {name}",
            "iat": now,
            "nbf": now,
            "exp": now + LIFETIME_S,
        }
        token = jwt.encode(claims, signing_key, algorithm="RS256", headers={"kid": kid})
        write_private(directory / f"{name}.token", token.encode())

    threading.Thread(target=server.serve_forever, daemon=True).start()
    summary = {"issuer": issuer, "jwks": jwks, "users": users}
    (directory / "issuer.json").write_text(json.dumps(summary))
    print(json.dumps({"issuer": issuer}), flush=True)
    sys.stdin.read()
    server.shutdown()


if __name__ == "__main__":
    main()
