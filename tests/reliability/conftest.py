"""The shop, the oracle and the comparison of the convergence machine are used here as they are."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "convergence"))
