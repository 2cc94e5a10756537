"""`python -m moyai.server --dir DIR [--local] [--fleet FILE] [--port N]`."""

import gc

gc.disable()  # nothing that is imported is ever garbage: collected over and over it would cost a tenth of the start

import sys  # noqa: E402

try:
    from moyai.server.start import main

    code = main(sys.argv[1:])
except KeyboardInterrupt:
    code = 130
sys.exit(code)
