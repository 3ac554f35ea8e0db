"""What every test runs under."""

import os

# One thread a worker: threads that wait for each other's turn on a core cost far more than they give. Set before torch
# is imported anywhere.
os.environ.setdefault("OMP_NUM_THREADS", "1")
