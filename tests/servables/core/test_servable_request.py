from topicserve.servables.core.servable_id import ServableId
from topicserve.servables.core.servable_request import ServableRequest


def test_a_specific_request_has_name_and_version() -> None:
    """Nothing else is asked for."""
    request = ServableRequest.specific("a", 2)

    assert (request.name, request.version, request.label) == ("a", 2, None)


def test_the_latest_request_has_a_name_alone() -> None:
    """No version and no label."""
    request = ServableRequest.latest("a")

    assert (request.name, request.version, request.label) == ("a", None, None)
    assert not request.earliest_version


def test_a_request_from_an_id_is_for_that_version() -> None:
    """It equals the specific request."""
    assert ServableRequest.from_id(ServableId("a", 2)) == ServableRequest.specific("a", 2)


def test_requests_print_what_they_ask_for() -> None:
    """An error of a lookup quotes them."""
    requests = [
        ServableRequest.specific("a", 2),
        ServableRequest.labelled("a", "stable"),
        ServableRequest.earliest("a"),
        ServableRequest.latest("a"),
    ]

    assert [str(request) for request in requests] == [
        "a, version 2",
        "a, label 'stable'",
        "a, earliest version",
        "a, latest version",
    ]
