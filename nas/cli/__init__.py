"""The command line: one file a command, thin over the library."""

import os

# Before anything imports numpy: the products of the search's model are small, and threads for them would get in the way
# of workers. torch has threads of its own.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
