import pytest

from topicserve.cli.main import main


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--redis-url=redis://127.0.0.1"], "give both"),
        (["--bootstrap-servers=127.0.0.1:9092"], "give both"),
        (["--records-per-second=0"], "--records-per-second: must be above 0"),
        (["--client=aiokafka"], "--client"),
        (["--output=/dev/null/demo"], "--output: /dev/null/demo: Not a directory"),
    ],
)
def test_a_wrong_flag_is_told(
    flags: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything is started."""
    try:
        exit_code = main(["demo", *flags])
    except SystemExit as ended:  # argparse ends by itself
        exit_code = int(str(ended.code))

    assert exit_code == 2
    assert told in capsys.readouterr().err
