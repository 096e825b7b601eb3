"""``python -m nas`` is the program ``vipnas``."""

import sys

from nas.cli.main import main

sys.exit(main())
