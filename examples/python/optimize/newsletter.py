"""Who gets the monthly newsletter, worked out from the shop's order log."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Order:
    """One line of the order log."""

    email: str
    total_cents: int


def normalise(email: str) -> str:
    """An address as the mail system stores it."""
    return email.strip().lower()


def recipients(orders: list[Order], unsubscribed: list[str], minimum_cents: int = 0) -> list[str]:
    """Addresses of customers with an order of at least `minimum_cents`, each once, in order of their first such order.

    Customers who unsubscribed are left out, however they wrote their address then.
    """
    left = []
    for email in unsubscribed:
        left.append(normalise(email))

    chosen = []
    for order in orders:
        if order.total_cents < minimum_cents:
            continue
        email = normalise(order.email)
        if not email or email in left:
            continue
        if email not in chosen:
            chosen.append(email)
    return chosen
