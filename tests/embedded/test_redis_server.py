from pathlib import Path

import redis

from topicserve.embedded.redis_server import RedisServer


def test_metadata_survives_a_kill_where_it_is_kept(tmp_path: Path) -> None:
    """With a directory it is there again, at the same address; without one it is gone."""
    for data_dir, found in ((tmp_path / "redis", b"value"), (None, None)):
        with RedisServer(data_dir=data_dir) as server:
            url = server.redis_url
            with redis.Redis.from_url(url) as client:
                client.set("key", "value")
            server.kill()
            server.start()

            assert server.redis_url == url
            with redis.Redis.from_url(url) as client:
                assert client.get("key") == found


def test_servers_side_by_side_have_ports_of_their_own() -> None:
    """Several test runs on one machine do not meet."""
    with RedisServer() as first, RedisServer() as second:
        assert first.redis_url != second.redis_url
