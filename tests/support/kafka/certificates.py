"""Certificates for tests of TLS: an authority made for the run, and a server's on 127.0.0.1."""

import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

from tests.support.kafka.kafka_jars import skip_or_fail


class Certificates(NamedTuple):
    """PEM files: whom to trust, the server's certificate and key, and both in one file."""

    authority: Path
    certificate: Path
    key: Path
    server: Path


def make_certificates(folder: Path) -> Certificates:
    """Make the files in a folder with openssl, unless they are there."""
    made = Certificates(*(folder / name for name in ("ca.pem", "cert.pem", "key.pem", "both.pem")))
    if made.server.exists():
        return made
    if shutil.which("openssl") is None:
        skip_or_fail("TLS is tested with certificates by openssl, which is not on the PATH")
    folder.mkdir(parents=True)
    new = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    ca_key = folder / "ca-key.pem"
    _openssl(*new, "-subj", "/CN=tests", "-keyout", ca_key, "-out", made.authority)
    name = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"]
    signed_by = ["-CA", made.authority, "-CAkey", ca_key]
    _openssl(*new, *name, *signed_by, "-keyout", made.key, "-out", made.certificate)
    made.server.write_bytes(made.key.read_bytes() + made.certificate.read_bytes())
    return made


def _openssl(*arguments: object) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)
