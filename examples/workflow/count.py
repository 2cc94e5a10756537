"""Count the primes among the numbers in a file: python3 count.py FILE."""

import sys
from pathlib import Path


def prime(number: int) -> bool:
    """Whether nothing but 1 and itself divides it."""
    return number > 1 and all(number % other for other in range(2, int(number**0.5) + 1))


print(sum(prime(int(line)) for line in Path(sys.argv[1]).read_text().splitlines()))
