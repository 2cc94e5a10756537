"""Names of traces."""

_ENDINGS = (".gz", ".tgz", ".tar", ".csv", ".swf", ".trace", ".json", ".txt")


def stem(file: str) -> str:
    """The name of a trace: that of its file without its folder and endings ("a/philly.csv.gz" is "philly")."""
    name = file.replace("\\", "/").rpartition("/")[2]
    while True:
        ending = next((e for e in _ENDINGS if name.endswith(e) and len(name) > len(e)), "")
        if not ending:
            return name
        name = name.removesuffix(ending)
