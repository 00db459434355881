"""Credentials in the wrong place or form, as header fields of a call."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from itertools import product
from urllib.parse import quote

from tests.access_files import Key, bearer

Fields = tuple[tuple[str, str | bytes], ...]


def on_the_wire(key: str, token: str) -> Mapping[str, Fields]:
    """What a caller may try with valid credentials in the wrong place or form."""
    good, secret = f"Bearer {key}", key.rpartition("_")[2]
    head, claims, signature = token.split(".")
    values: dict[str, str | bytes] = {
        "no scheme": key,
        "a token without a scheme": token,
        "the scheme alone": "Bearer",
        "the scheme and no space": f"Bearer{key}",
        "a colon after the scheme": f"Bearer:{key}",
        "an equals sign after the scheme": f"Bearer={key}",
        "two spaces": f"Bearer  {key}",
        "a tab after the scheme": f"Bearer\t{key}",
        "a space and a tab": f"Bearer \t{key}",
        "a tab within": f"Bearer {key[:20]}\t{key[20:]}",
        "a space within": f"Bearer {key[:20]} {key[20:]}",
        "two keys": f"Bearer {key} {key}",
        "two keys with a comma": f"Bearer {key},{key}",
        "two keys with a comma and a space": f"Bearer {key}, {key}",
        "two values in one": f"{good},{good}",
        "two values in one with a space": f"{good}, {good}",
        "a key and a token": f"Bearer {key},{token}",
        "a parameter": f'Bearer token="{key}"',
        "a realm": f'Bearer realm="scorewire", {key}',
        "quotes": f'Bearer "{key}"',
        "single quotes": f"Bearer '{key}'",
        "angle brackets": f"Bearer <{key}>",
        "a semicolon at the end": f"Bearer {key};",
        "an equals sign at the end": f"Bearer {key}=",
        "a dot at the end": f"Bearer {key}.",
        "two dots at the end": f"Bearer {key}..",
        "the scheme twice": f"Bearer Bearer {key}",
        "a long form of the scheme": f"BearerToken {key}",
        "another letter in the scheme": f"Bearеr {key}",
        "percent encoding of a letter": f"Bearer %{ord(key[0]):02x}{key[1:]}",
        "percent encoding of all": "Bearer " + "".join(f"%{ord(letter):02X}" for letter in key),
        "percent encoding of the space": f"Bearer%20{key}",
        "percent encoding of the dots": f"Bearer {head}%2E{claims}%2E{signature}",
        "Base64 of the key": "Bearer " + base64.b64encode(key.encode()).decode(),
        "Base64 of the token": "Bearer " + base64.b64encode(token.encode()).decode(),
        "the key in capitals": f"Bearer {key.upper()}",
        "the digits in capitals": f"Bearer {key.removesuffix(secret)}{secret.upper()}",
        "the secret alone": f"Bearer {secret}",
        "the key without its secret": f"Bearer {key.removesuffix(secret)}",
        "the key without its last digit": f"Bearer {key[:-1]}",
        "the key without its first letter": f"Bearer {key[1:]}",
        "one more digit": f"Bearer {key}0",
        "another last digit": f"Bearer {key[:-1]}{'0' if key[-1] != '0' else '1'}",
        "the key's digits backwards": f"Bearer {key.removesuffix(secret)}{secret[::-1]}",
        "a secret of zeros": f"Bearer {key.removesuffix(secret)}{'0' * len(secret)}",
        "the hash in place of the key": f"Bearer {Key(key).entry()['sha256']}",
        "the hash in place of the secret": f"Bearer {key.removesuffix(secret)}{Key(key).entry()['sha256']}",
        "a wildcard": "Bearer *",
        "null": "Bearer null",
        "the name of the principal": "Bearer by-key",
        "an unknown key": f"Bearer {Key.make().text}",
        "a byte that is no ASCII at the end": good.encode() + b"\xff",
        "a byte that is no ASCII in the middle": good.encode()[:20] + b"\x80" + good.encode()[20:],
        "a no-break space": f"Bearer\u00a0{key}",
        "a no-break space at the end": f"{good}\u00a0",
        "a zero-width space": f"Bearer {key}\u200b",
        "a byte order mark": f"\ufeff{good}",
        "wide letters": f"Bearer {''.join(chr(0xFEE0 + ord(letter)) for letter in key)}",
        "overlong UTF-8": b"Bearer "
        + b"".join(bytes([0xC0 | each >> 6, 0x80 | each & 63]) for each in key.encode()),
        "a long token": "Bearer " + "a" * 8193,
        "a long token of three parts": "Bearer " + ".".join(["a" * 4000] * 3),
        "a long tail": f"{good}{'a' * 9000}",
        "a token and a long tail": f"Bearer {token}{'A' * 9000}",
    }
    for scheme in ("Basic", "Digest", "Negotiate", "ApiKey", "Token", "JWT", "HOBA", "Bearer1", "DPoP"):
        values[f"the scheme {scheme}"] = f"{scheme} {key}"
        values[f"the scheme {scheme} with a token"] = f"{scheme} {token}"
    values["basic authentication"] = "Basic " + base64.b64encode(f"by-key:{key}".encode()).decode()
    values["basic authentication with a token"] = "Basic " + base64.b64encode(f":{token}".encode()).decode()
    cases: dict[str, Fields] = {name: (("authorization", value),) for name, value in values.items()}
    cases["no credential"] = ()
    shown = {"key": good, "token": f"Bearer {token}", "other": "Basic eDp5"}
    for first, second in product(shown, repeat=2):
        cases[f"two entries: {first} and {second}"] = (
            ("authorization", shown[first]),
            ("authorization", shown[second]),
        )
    cases["two entries, the first without value"] = (("authorization", ""), ("authorization", good))
    cases["two entries, the last without value"] = (("authorization", good), ("authorization", ""))
    cases["two entries with another one between"] = (
        ("authorization", good),
        ("x", "y"),
        ("authorization", good),
    )
    cases["three entries"] = (("authorization", good),) * 3
    cases["an entry without value"] = (("authorization", ""),)
    binary = base64.b64encode(good.encode()).decode()
    cases["a binary entry"] = (("authorization-bin", binary),)
    cases["a binary entry without padding"] = (("authorization-bin", binary.rstrip("=")),)
    cases["a binary entry beside a forged one"] = (
        ("authorization-bin", binary),
        ("authorization", "Bearer x"),
    )
    for name in (
        "proxy-authorization", "x-authorization", "x-forwarded-authorization", "x-original-authorization",
        "grpc-authorization", "x-goog-iam-authorization-token", "x-amz-security-token", "x-auth-token",
        "authorization_", "authorisation", "x-api-key", "api-key", "apikey", "token", "x-access-token",
        "bearer", "x-scorewire-key", "www-authenticate", "cookie", "x-jwt-assertion",
    ):  # fmt: skip
        cases[f"a key in {name}"] = ((name, good),)
        cases[f"a bare key in {name}"] = ((name, key),)
        cases[f"a token in {name}"] = ((name, f"Bearer {token}"),)
    for name, value in (
        ("x-principal", "by-key"),
        ("x-forwarded-user", "by-key"),
        ("x-remote-user", "by-key"),
        ("remote-user", "by-key"),
        (
            "x-forwarded-client-cert",
            'By=h;Hash=0;Subject="CN=by-key";URI=spiffe://prod/shop;DNS=shop.internal',
        ),
        ("x-client-cert", quote("-----BEGIN CERTIFICATE-----")),
        ("x-ssl-client-verify", "SUCCESS"),
        ("x-ssl-client-s-dn", "CN=shop.internal"),
        ("x-forwarded-for", "127.0.0.1"),
        ("forwarded", "for=127.0.0.1;by=by-key"),
        ("x-real-ip", "127.0.0.1"),
        ("x-http-method-override", "GET"),
        ("cookie", f"authorization={key}; token={token}"),
    ):
        cases[f"{name}: {value[:20]}"] = ((name, value),)
        cases[f"{name}: {value[:20]} beside a forged key"] = ((name, value), *bearer("x"))
    return cases


# What HTTP/2 itself forbids: an engine may reset the stream, but not answer the call.
MALFORMED: Mapping[str, bytes] = {
    "a space at the end": b"Bearer KEY ",
    "a space at the beginning": b" Bearer KEY",
    "a tab at the end": b"Bearer KEY\t",
    "a tab at the beginning": b"\tBearer KEY",
    "the scheme and a space": b"Bearer ",
    "a line feed": b"Bearer KEY\n",
    "a carriage return": b"Bearer KEY\r",
    "a line feed within": b"Bearer\nKEY",
    "a second header in the first": b"Bearer x\r\nauthorization: Bearer KEY",
    "a zero byte at the end": b"Bearer KEY\0",
    "a zero byte after the scheme": b"Bearer\0KEY",
    "a zero byte within": b"Bearer K\0EY",
}
