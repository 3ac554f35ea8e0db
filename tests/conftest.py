"""What every test runs under."""

import os
import signal

# One thread a worker: threads that wait for each other's turn on a core cost far more than they give. Set before torch
# is imported anywhere.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Who starts the tests in the background of a script hands them a Ctrl-C that is ignored, and it is tested.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
