from topicserve.servables.core.servable_id import ServableId


def test_equal_ids_agree_in_name_and_version() -> None:
    """Both fields count."""
    assert ServableId("a", 1) == ServableId("a", 1)
    assert hash(ServableId("a", 1)) == hash(ServableId("a", 1))


def test_ids_that_differ_in_one_field_are_not_equal() -> None:
    """Either field makes the difference."""
    assert ServableId("a", 1) != ServableId("a", 2)
    assert ServableId("a", 1) != ServableId("b", 1)


def test_ids_are_ordered_by_name_and_then_version() -> None:
    """The version decides only within a name, and as a number."""
    ids = [ServableId("b", 1), ServableId("a", 10), ServableId("a", 9)]

    assert sorted(ids) == [ServableId("a", 9), ServableId("a", 10), ServableId("b", 1)]
    assert not ServableId("a", 1) < ServableId("a", 1)


def test_an_id_prints_as_tf_serving_prints_it() -> None:
    """Log lines and errors name a version so."""
    assert str(ServableId("digits", 3)) == "{name: digits version: 3}"
