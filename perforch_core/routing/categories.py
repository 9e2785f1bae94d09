"""A cheap guess at what kind of problem a function is: the ten categories of the PerfOrch paper (arXiv 2510.01379).

Only a key for the profile: a wrong guess costs a little routing, never correctness. No model is asked.
"""

from __future__ import annotations

import re

CATEGORIES = (
    "Array",
    "Math",
    "String",
    "Counting",
    "Number Theory",
    "Simulation",
    "Sorting",
    "Enumeration",
    "Greedy",
    "Hash Table",
)

MOST = 3
"""A function gets at most this many categories."""

# (pattern, weight) per category; what stands in names and prose weighs more than what stands in code.
_CODE: dict[str, tuple[tuple[str, int], ...]] = {
    "Array": (
        (r"\[[^\]\n]*\]", 1),
        (r"\b(append|len|Vec|vector|slice|List)\b", 1),
        (r"\w\[[^\]\n]*[ij]\b[^\]\n]*\]", 2),
    ),
    "Math": ((r"\b(math|sqrt|pow|abs|floor|ceil|sum|exp|log|sin|cos)\b", 2), (r"\*\*|//|[-+*/]=", 1)),
    "String": (
        (r"\b(str|String|string|split|join|strip|lower|upper|replace|startswith|chars|char)\b", 2),
        (r"\bre\.", 2),
    ),
    "Counting": ((r"\b(count|Counter|counts|freq\w*|tally|histogram)\b", 3), (r"\+= 1\b|\+\+", 1)),
    "Number Theory": ((r"\b(gcd|lcm|prime\w*|divisor\w*|factor\w*|isqrt|mod)\b", 3), (r"%", 1)),
    "Simulation": ((r"\b(step\w*|state|queue|deque|grid|board|turn|tick|simulate\w*)\b", 2), (r"\bwhile\b", 1)),
    "Sorting": ((r"\b(sort|sorted|sort_by|sort_unstable|heapq|heappush|bisect|nsmallest|nlargest|Comparator)\b", 3),),
    "Enumeration": ((r"\b(itertools|combinations|permutations|product|subsets?|backtrack\w*)\b", 3),),
    "Greedy": ((r"\b(greedy|profit|capacity|budget|interval\w*|best)\b", 2), (r"\b(min|max)\(", 1)),
    "Hash Table": (
        (r"\b(dict|set|defaultdict|HashMap|HashSet|unordered_map|unordered_set|map)\b", 2),
        (r"\{[^}\n]*\}", 1),
    ),
}
_PROSE: dict[str, str] = {
    "Array": r"\b(array|list|elements?|index|indices|matrix|vector|sub-?arrays?|flatten|rotate)\b",
    "Math": r"\b(sum|product|average|mean|area|distance|numbers?|power|root|factorial|polynomial)\b",
    "String": r"\b(strings?|text|characters?|words?|letters?|vowels?|palindrome|prefix|suffix|(en|de)code)\b",
    "Counting": r"\b(counts?|how many|number of|occurrences?|frequenc(y|ies))\b",
    "Number Theory": r"\b(primes?|divisors?|divisible|gcd|lcm|modulo|coprime|fibonacci|digits?|even|odd)\b",
    "Simulation": r"\b(simulat\w+|steps?|moves?|robots?|game|grid|board|rounds?|state|queue)\b",
    "Sorting": r"\b(sort(s|ed|ing)?|order(ed)?|ascending|descending|rank|largest|smallest|median|merge)\b",
    "Enumeration": r"\b(all|every|combinations?|permutations?|subsets?|pairs?|triples?|enumerate\w*|possible)\b",
    "Greedy": r"\b(minimum|maximum|min|max|fewest|most|least|optimal|best|profit|interval\w*|schedule)\b",
    "Hash Table": r"\b(unique|distinct|duplicates?|dedupe\w*|dict(ionary)?|mapping|lookup|group\w*|set|seen|cache)\b",
}


def guess(code: str, *, name: str = "", docstring: str = "") -> tuple[str, ...]:
    """The likeliest categories of a function, best first, at most MOST; () where nothing points anywhere."""
    prose = re.sub(r"([a-z0-9])([A-Z])", r"\1 \2", name).replace("_", " ") + "\n" + docstring[:2000]
    body = code[:8000]
    scores = {category: _score(category, body, prose.lower()) for category in CATEGORIES}
    best = max(scores.values())
    ranked = sorted(CATEGORIES, key=lambda category: -scores[category])
    return tuple(category for category in ranked[:MOST] if scores[category] >= max(3, 0.5 * best))


def _score(category: str, code: str, prose: str) -> int:
    # Repetition says little: each pattern counts at most three times.
    points = sum(weight * min(3, len(re.findall(pattern, code))) for pattern, weight in _CODE[category])
    return points + 4 * min(3, len(re.findall(_PROSE[category], prose)))
