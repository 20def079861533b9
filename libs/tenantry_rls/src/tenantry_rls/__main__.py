"""``python -m tenantry_rls``."""

import sys

from tenantry_rls.cli import run

sys.exit(run())
