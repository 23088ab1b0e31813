"""What a producer says about records that it could not publish."""

from collections.abc import Mapping


class PublishError(Exception):
    """Records were not acknowledged; all others since the last flush were.

    The metadata of those that are certainly not in the topic is removed, if the store answers.

    `failures` has the error of each by record id, the first MAX_FAILURES of them;
    `failed_records` counts them all.
    """

    MAX_FAILURES = 1000

    def __init__(self, failures: Mapping[str, Exception], failed_records: int) -> None:
        record_id, error = next(iter(failures.items()))
        super().__init__(
            f"{failed_records} record(s) were not published; the first is {record_id}: {error}"
        )
        self.failures = failures
        self.failed_records = failed_records
