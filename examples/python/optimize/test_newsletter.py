from newsletter import Order, recipients


def test_each_customer_gets_one_copy():
    orders = [Order("ann@example.org", 500), Order("bob@example.org", 900), Order("ann@example.org", 100)]
    assert recipients(orders, []) == ["ann@example.org", "bob@example.org"]


def test_spelling_of_an_address_does_not_matter():
    orders = [Order(" Ann@Example.org", 500), Order("ann@example.org ", 900)]
    assert recipients(orders, []) == ["ann@example.org"]


def test_who_unsubscribed_is_left_out():
    orders = [Order("ann@example.org", 500), Order("bob@example.org", 900)]
    assert recipients(orders, ["ANN@example.org"]) == ["bob@example.org"]


def test_small_orders_do_not_count():
    orders = [Order("ann@example.org", 499), Order("bob@example.org", 500)]
    assert recipients(orders, [], minimum_cents=500) == ["bob@example.org"]


def test_order_of_the_first_counting_order_is_kept():
    orders = [Order("c@example.org", 1), Order("a@example.org", 9), Order("b@example.org", 9), Order("c@example.org", 9)]
    assert recipients(orders, [], minimum_cents=5) == ["a@example.org", "b@example.org", "c@example.org"]


def test_an_empty_address_is_nobody():
    assert recipients([Order("  ", 900)], []) == []
