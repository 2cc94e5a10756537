"""Write the numbers below LIMIT into three files: python3 split.py LIMIT 3."""

import sys
from pathlib import Path

limit, parts = int(sys.argv[1]), int(sys.argv[2])
names = ("low", "middle", "high")[:parts]
for number, name in enumerate(names):
    numbers = range(limit * number // parts, limit * (number + 1) // parts)
    Path(f"{name}.txt").write_text("".join(f"{n}\n" for n in numbers))
    print(f"{name}.txt: {len(numbers)} numbers")
