"""An independent relying party: verifies a token of the clean room the way a cloud would.

Usage: relying_party.py TOKEN_FILE ISSUER_URL AUDIENCE CA_CERT

Discovery, then key set, then signature, issuer, audience and times, with PyJWT. Prints the claims
as JSON; any mismatch ends the process with an error.
"""

import json
import pathlib
import ssl
import sys
import urllib.request

import jwt


def fetch(url: str, context: ssl.SSLContext) -> dict:
    with urllib.request.urlopen(url, context=context, timeout=10) as answer:
        return json.load(answer)


def main() -> None:
    token_file, issuer, audience, ca_cert = sys.argv[1:5]
    token = pathlib.Path(token_file).read_text().strip()
    context = ssl.create_default_context(cafile=ca_cert)

    discovery = fetch(f"{issuer}/.well-known/openid-configuration", context)
    if discovery["issuer"] != issuer:
        raise SystemExit(f"discovery names issuer {discovery['issuer']}, expected {issuer}")
    keys = jwt.PyJWKClient(discovery["jwks_uri"], ssl_context=context)
    header = jwt.get_unverified_header(token)
    if header["alg"] not in discovery["id_token_signing_alg_values_supported"]:
        raise SystemExit(f"algorithm {header['alg']} is not advertised")
    claims = jwt.decode(
        token,
        keys.get_signing_key_from_jwt(token).key,
        algorithms=["RS256"],
        audience=audience,
        issuer=issuer,
        options={"require": ["exp", "iat", "nbf", "iss", "aud", "sub"]},
    )
    for name in ("exp", "iat", "nbf"):
        if not isinstance(claims[name], int):
            raise SystemExit(f"{name} is not a number")
    if claims["exp"] - claims["iat"] > 3600:
        raise SystemExit("the token lives longer than an hour")
    print(json.dumps(claims))


if __name__ == "__main__":
    main()
