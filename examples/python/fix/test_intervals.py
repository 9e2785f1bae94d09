from intervals import merge_slots


def test_apart():
    assert merge_slots([(700, 720), (540, 600)]) == [(540, 600), (700, 720)]


def test_overlapping():
    assert merge_slots([(540, 600), (590, 660)]) == [(540, 660)]


def test_contained():
    assert merge_slots([(540, 660), (550, 560)]) == [(540, 660)]


def test_touching():
    assert merge_slots([(540, 600), (600, 615), (615, 630)]) == [(540, 630)]


def test_none():
    assert merge_slots([]) == []
