"""Read a dataset that may not leave its prefecture, and take away no more than counts of at least ten people."""

import collections
import csv
import os
from pathlib import Path

SMALLEST_GROUP = 10

if __name__ == "__main__":
    data = Path(os.environ["MOYAI_DATA_RECORDS_KYUSHU"])
    with (data / "records.csv").open(encoding="utf-8") as file:
        counts = collections.Counter(row["topic"] for row in csv.DictReader(file))
    for topic, count in sorted(counts.items()):
        print(f"{os.environ.get('MOYAI_SITE')}: {topic}: {count if count >= SMALLEST_GROUP else 'fewer than ten'}")
