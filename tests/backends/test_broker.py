from topicserve.backends.broker import TopicIdentity


def test_an_id_is_written_as_kafkas_tools_write_it() -> None:
    """With the two characters that are safe in a URL; zeros are none."""
    assert TopicIdentity.of("c", b"\xfb\xff" + bytes(13) + b"\xff") == (
        "c",
        "-_8AAAAAAAAAAAAAAAAA_w",
    )
    assert TopicIdentity.of(None, bytes(16)) == ("", "")
    assert TopicIdentity.of("c", b"") == ("c", "")
