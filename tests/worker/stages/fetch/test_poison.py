"""Whatever a reference says and a store gives, that record alone is answered or given up."""

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.references.scripted_store import BODY, PREFIX, scripted
from tests.support.stages.examples import examples
from tests.support.stages.records import a_kafka_record, an_id
from tests.worker.stages.fetch.test_fetcher import ALLOWED, a_world, outcomes, referring
from topicserve.worker.config.schema import Guarantee

URLS = st.one_of(
    st.binary(max_size=30),
    st.text(max_size=20).map(lambda rest: f"{PREFIX}/{rest}".encode()),
    st.just(f"{PREFIX}/1".encode()),
)
HASHES = st.one_of(st.none(), st.binary(max_size=20), st.just(b"sha256:" + b"0" * 64))
TYPES = st.sampled_from([b"application/json", b"application/x-protobuf", b"text/plain", b"x"])


@settings(max_examples=examples(30), deadline=None)
@given(
    st.lists(st.tuples(URLS, HASHES, TYPES, st.binary(max_size=20)), min_size=1, max_size=4),
    st.sampled_from(list(Guarantee)),
)
def test_any_reference_and_any_body_fail_alone(
    given_records: list[tuple[bytes, bytes | None, bytes, bytes]], guarantee: Guarantee
) -> None:
    """Records beside it are answered, of the same key as well."""
    count = len(given_records)
    scripted({"1": given_records[0][3], "good": BODY})
    records = [
        a_kafka_record(
            number,
            value=None,
            headers=[
                ("content-type", content_type),
                ("ce_dataref", url),
                *([] if digest is None else [("ce_datarefhash", digest)]),
            ],
        )
        for number, (url, digest, content_type, _) in enumerate(given_records)
    ]
    records += [a_kafka_record(count, 7), referring(count + 1, f"{PREFIX}/good", partition=0)]
    world = a_world(records, guarantee, ALLOWED)

    world.run()

    found = outcomes(world)
    assert set(world.log.ids()) == {an_id(number) for number in range(count + 2)}
    assert len(world.log.published) == count + 2
    assert (found[count], found[count + 1]) == ("14.0", "2.0")
    assert world.stages.intake.tracker.in_flight_bytes == 0
