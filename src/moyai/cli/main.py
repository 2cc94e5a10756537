"""The entry point of `moyai`. It imports nothing at its top, so that Ctrl-C during the start leaves no stack trace."""


def main() -> None:
    """Run the command line on sys.argv and leave with its exit code.

    An error that nobody foresaw is one line on the screen, and its details in a file.
    """
    import signal
    import sys

    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from moyai.cli.app import command

    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        command().main(prog_name="moyai")
    except Exception as error:  # noqa: BLE001 – the last resort: said, written down, passed on as exit code 70
        from moyai.cli.errors import unexpected

        sys.exit(unexpected(error))
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(0)


if __name__ == "__main__":
    main()
