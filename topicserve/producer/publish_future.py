"""What becomes of one record."""

from concurrent.futures import Future


class PublishFuture(Future[None]):
    """Done when the broker has acknowledged the record; `result()` raises why it did not.

    The error is a BackendError; after a DeliveryTimeoutError it is unknown whether the record
    was written. A record may be cancelled until it is on its way to the broker.
    """

    def __init__(self, record_id: str) -> None:
        super().__init__()
        self.record_id = record_id
