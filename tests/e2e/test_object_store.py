"""Bodies and large results in S3: a real worker with s3fs, and moto's server; of `make chaos`."""

import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.processes.deployment import Deployment
from tests.support.processes.scale import chaos_only
from tests.support.references.s3_server import an_s3_server, site_packages
from tests.support.servables.table import check_table_result, table_records, table_servable
from tests.support.traffic.accounts import Sent, a_record
from topicserve.backends.references.allow_list import read_prefix
from topicserve.backends.references.body_reader import BodyReader
from topicserve.backends.references.errors import StoreRefusedError
from topicserve.backends.references.writing import write_body
from topicserve.embedded.stack import Stack
from topicserve.wire import header_names as names

pytestmark = [chaos_only, pytest.mark.slow]

LIMIT_SECONDS = 180.0
ALLOW = ["s3://bucket/bodies", "s3://closed/bodies", "s3://none/bodies"]
RESULTS = "s3://bucket/large"
RIGHTS = [
    {
        "Effect": "Allow",
        "Action": ["s3:GetObject", "s3:PutObject", "s3:ListBucket"],
        "Resource": ["arn:aws:s3:::bucket", "arn:aws:s3:::bucket/*"],
    },
    {"Effect": "Allow", "Action": "s3:*", "Resource": ["arn:aws:s3:::none", "arn:aws:s3:::none/*"]},
]


def referring(record: Sent, url: str) -> Sent:
    """Return the record with a URL in place of its value."""
    return replace(record, value=None, headers=[*record.headers, (names.DATAREF, url.encode())])


def test_bodies_are_fetched_from_s3_and_results_stored_there(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is missing, closed to the account, or in no bucket is given up alone."""
    packages = site_packages()
    path = os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), packages)))
    monkeypatch.setenv("PYTHONPATH", path)
    monkeypatch.setattr(sys, "path", [*sys.path, packages])
    made = table_records()(24)
    good, bad = made[:20], made[20:]
    objects = {f"bucket/bodies/{n} +": (one.value or b"").decode() for n, one in enumerate(good)}
    objects["closed/bodies/a"] = objects["bucket/bodies/0 +"]
    expected = {
        "s3://bucket/bodies/missing": "dataref_not_found",
        "s3://closed/bodies/a": "dataref_refused",
        "s3://none/bodies/a": "dataref_not_found",
        "s3://bucket/other/a": "dataref_refused",
    }
    huge = a_record("k7", metadata={"text": "x" * (1024 * 1024 - 100)})
    records = [referring(one, f"s3://bucket/bodies/{n}%20+") for n, one in enumerate(good)]
    given_up = [referring(one, url) for one, url in zip(bad, expected, strict=True)]
    tables = {"dataref": {"allow": ALLOW, "results": RESULTS}}
    with (
        an_s3_server(tmp_path, objects, ["bucket", "closed"], RIGHTS) as environment,
        Stack() as stack,
    ):
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        with Deployment(
            *(stack.bootstrap_servers, stack.redis_url, tmp_path),
            *([table_servable(table)], check_table_result, tables),
        ) as deployment:
            deployment.start(deployment.worker())
            traffic = deployment.traffic
            traffic.follow = BodyReader([RESULTS]).follow
            traffic.publish([*records[:10], huge, *given_up, *records[10:]])
            traffic.until_answered(LIMIT_SECONDS)

        for place in ("s3://closed/large", "s3://none/large"):
            with pytest.raises(StoreRefusedError):
                write_body(read_prefix(place).below("out", "a"), b"a result")

    assert traffic.seen.answers.keys() == {one.key for one in (*records, huge)}
    assert traffic.seen.reasons == {
        one.key: reason for one, reason in zip(given_up, expected.values(), strict=True)
    }
