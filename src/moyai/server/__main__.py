"""`python -m moyai.server --dir DIR [--local] [--fleet FILE] [--port N]`."""

import gc

gc.disable()  # nothing that is imported is ever garbage: collected over and over it would cost a tenth of the start

import os  # noqa: E402
import sys  # noqa: E402

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # the planner's small systems gain nothing by threads that spin

from moyai.server.told import end_when_told  # noqa: E402

end_when_told()  # before the rest is imported: that takes a while

from moyai.server.start import main  # noqa: E402

sys.exit(main(sys.argv[1:]))
