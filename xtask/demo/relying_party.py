"""An independent relying party: exchanges the clean room's tokens the way a cloud would.

Usage: relying_party.py DIR

Serves POST /oauth2/token (OAuth 2.0 client credentials with a JWT bearer assertion, RFC 7523) on a
free HTTPS port. An assertion is verified with PyJWT alone: discovery of the issuer it was told to
trust, key set, RS256 signature, issuer, audience, numeric times. Writes DIR/relying_party.json
{"endpoint", "certificate"}; then reads one line of JSON from standard input, {"issuer", "ca_cert",
"subject", "audience"}: the federated credential. Each verified assertion's claims go to
DIR/assertions.jsonl, never the assertion. Ends when standard input closes.
"""

import http.server
import json
import pathlib
import secrets
import ssl
import sys
import threading
import urllib.parse
import urllib.request

import jwt

from identity_provider import tls_context

REQUIRED = ["exp", "iat", "nbf", "iss", "aud", "sub"]
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


class Refused(Exception):
    """The assertion does not match the federated credential."""


def fetch(url: str, context: ssl.SSLContext) -> dict:
    with urllib.request.urlopen(url, context=context, timeout=10) as answer:
        return json.load(answer)


def verify(assertion: str, credential: dict) -> dict:
    """The claims of a good assertion; raises otherwise."""
    issuer = credential["issuer"]
    context = ssl.create_default_context(cafile=credential["ca_cert"])
    discovery = fetch(f"{issuer}/.well-known/openid-configuration", context)
    if discovery["issuer"] != issuer:
        raise Refused(f"discovery names issuer {discovery['issuer']}, expected {issuer}")
    header = jwt.get_unverified_header(assertion)
    if header["alg"] != "RS256" or "RS256" not in discovery["id_token_signing_alg_values_supported"]:
        raise Refused(f"algorithm {header['alg']} is not the one advertised")
    keys = jwt.PyJWKClient(discovery["jwks_uri"], ssl_context=context)
    claims = jwt.decode(
        assertion,
        keys.get_signing_key_from_jwt(assertion).key,
        algorithms=["RS256"],
        audience=credential["audience"],
        issuer=issuer,
        options={"require": REQUIRED},
    )
    if claims["sub"] != credential["subject"]:
        raise Refused(f"subject {claims['sub']} is not the registered one")
    for name in ("exp", "iat", "nbf"):
        if not isinstance(claims[name], int):
            raise Refused(f"{name} is not a number")
    if claims["exp"] - claims["iat"] > 3600:
        raise Refused("the token lives longer than an hour")
    return claims


def main() -> None:
    directory = pathlib.Path(sys.argv[1])
    directory.mkdir(parents=True, exist_ok=True)
    credential: dict = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = min(int(self.headers.get("content-length", "0")), 65536)
            form = dict(urllib.parse.parse_qsl(self.rfile.read(length).decode()))
            try:
                if self.path != "/oauth2/token" or form.get("client_assertion_type") != ASSERTION_TYPE:
                    raise Refused("not a client-credentials request with a JWT assertion")
                if not credential:
                    raise Refused("no federated credential is registered yet")
                claims = verify(form["client_assertion"], credential)
            except (Refused, KeyError, OSError, jwt.PyJWTError) as error:
                self.answer(400, {"error": "invalid_client", "error_description": str(error)})
                return
            with open(directory / "assertions.jsonl", "a", encoding="utf-8") as log:
                log.write(json.dumps(claims) + "\n")
            self.answer(200, {"access_token": secrets.token_urlsafe(32), "token_type": "Bearer", "expires_in": 300})

        def answer(self, status: int, body: dict) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_args) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = tls_context(directory).wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    summary = {
        "endpoint": f"https://127.0.0.1:{server.server_port}/oauth2/token",
        "certificate": (directory / "provider_cert.pem").read_text(),
    }
    (directory / "relying_party.json").write_text(json.dumps(summary))
    print(json.dumps({"endpoint": summary["endpoint"]}), flush=True)
    credential.update(json.loads(sys.stdin.readline() or "{}"))
    sys.stdin.read()
    server.shutdown()


if __name__ == "__main__":
    main()
