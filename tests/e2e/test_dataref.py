"""A real worker fetches bodies from files and over HTTP, and stores a result too large."""

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.processes.deployment import Deployment
from tests.support.references.body_server import BodyServer, a_body_server, whole
from tests.support.servables.table import check_table_result, table_records, table_servable
from tests.support.traffic.accounts import Sent, a_record
from topicserve.backends.references.body_reader import BodyReader
from topicserve.embedded.stack import Stack
from topicserve.wire import header_names as names

pytestmark = pytest.mark.servers

LIMIT_SECONDS = 120.0
MAX_BYTES = 100_000


@pytest.fixture(name="server")
def a_server() -> Iterator[BodyServer]:
    """Serve bodies over HTTP."""
    with a_body_server() as server:
        yield server


def by_reference(record: Sent, url: str, body: bytes | None = None) -> Sent:
    """Return the record with a URL in place of its value, and the body's hash."""
    headers = [*record.headers, (names.DATAREF, url.encode())]
    if body is not None:
        digest = hashlib.sha256(body).hexdigest()
        headers.append((names.DATAREF_HASH, f"sha256:{digest}".encode()))
    return replace(record, value=None, headers=headers)


def test_bodies_are_fetched_and_bad_ones_given_up_alone(
    server: BodyServer, tmp_path: Path, table: Path
) -> None:
    """Among records that have their values; a server that fails for a while is waited for."""
    files = tmp_path / "bodies"
    files.mkdir()
    (tmp_path / "secret").write_bytes(b'{"instance": "a"}')
    (files / "link").symlink_to(tmp_path / "secret")
    failures = iter(range(5))

    def flaky(connection: object) -> None:
        is_away = next(failures, None) is not None
        answer = whole(b"", status="503 Busy") if is_away else whole(flaky_body)
        answer(connection)  # type: ignore[arg-type]

    made = table_records()(220)
    # Metadata is part of a JSON result, which is then larger than a topic takes by default.
    huge = a_record("k7", metadata={"text": "x" * (1024 * 1024 - 100)})
    plain, in_files, on_server, bad = made[:100], made[100:150], made[150:200], made[200:]
    records = [*plain]
    for number, record in enumerate(in_files):
        body = record.value or b""
        (files / f"{number}").write_bytes(body)
        records.append(by_reference(record, f"file://{files}/{number}", body))
    for number, record in enumerate(on_server):
        server.answers[f"/{number}"] = whole(record.value or b"")
        records.append(by_reference(record, f"{server.url}/{number}", record.value))
    (files / "text").write_bytes(b"k9")
    text = a_record("k9", headers={names.CONTENT_TYPE: "text/plain"})
    records.append(by_reference(text, f"file://{files}/text", b"k9"))
    flaky_body = on_server[0].value or b""
    server.answers["/0"] = flaky
    server.answers["/redirect"] = whole(b"", f"Location: {server.url}/1", status="302 Found")
    server.answers["/endless"] = server.endless
    server.answers["/other"] = whole(b'{"instance": "b"}')
    expected = {
        f"file://{files}/missing": "dataref_not_found",
        f"file://{files}/link": "dataref_refused",
        f"file://{files}/../secret": "dataref_refused",
        f"file://{tmp_path}/secret": "dataref_refused",
        f"{server.url}/missing": "dataref_not_found",
        f"{server.url}/redirect": "dataref_refused",
        f"{server.url}/endless": "dataref_too_large",
        f"{server.url}/other": "dataref_mismatch",
        "s3://bucket/a": "dataref_refused",
    }
    given_up = [by_reference(r, u, b"") for r, u in zip(bad, expected, strict=False)]
    results = f"file://{tmp_path}/results"
    tables = {
        "delivery": {"guarantee": "exactly_once", "max_retry_pause_seconds": 0.1},
        "dataref": {
            "allow": [f"file://{files}", server.url],
            "max_bytes": MAX_BYTES,
            "results": results,
        },
    }
    with (
        Stack() as stack,
        Deployment(
            *(stack.bootstrap_servers, stack.redis_url, tmp_path),
            *([table_servable(table)], check_table_result, tables),
        ) as deployment,
    ):
        worker, traffic = deployment.worker(), deployment.traffic
        deployment.start(worker)

        traffic.follow = BodyReader([results]).follow
        traffic.publish([*records[:120], huge, *given_up, *records[120:]])
        traffic.until_answered(LIMIT_SECONDS)

        assert traffic.seen.reasons == {
            record.key: reason for record, reason in zip(given_up, expected.values(), strict=True)
        }
        assert set(traffic.seen.answers.values()) == {1}
        assert traffic.seen.answers.keys() == {record.key for record in (*records, huge)}
        assert worker.metric("topicserve_stored_results_total") >= 1
        assert worker.metric("topicserve_dataref_fetches_total", outcome="found") >= 100
        assert worker.metric("topicserve_dataref_fetches_total", outcome="failed") >= 5
