"""``python -m tenantry.cli``"""

from tenantry.cli.main import run

run()
