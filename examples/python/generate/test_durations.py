import pytest

from durations import parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"), [("1d 2h 3m 4s", 93784), ("90m", 5400), ("0s", 0), ("1H", 3600), (" 5m ", 300)]
)
def test_durations(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "  ", "5", "m", "5x", "1m 1h", "1m 1m", "-5m", "1.5h"])
def test_anything_else_is_refused(text):
    with pytest.raises(ValueError):
        parse_duration(text)
