"""The process that answers for stopped instances, as the rest of the platform sees it.

It runs while any instance is stopped or suspended, would be suspended when it is idle, or has been
started without its port and runs on.
"""

from tenantry.base.errors import MachineError
from tenantry.base.settings import Settings
from tenantry.services.clusters.fleet import Fleet

NAME = "listener"


def every(here: Settings) -> list[str]:  # noqa: ARG001 (as the data API's, which has several)
    """Return the process's name, whether or not it has to run."""
    return [NAME]


def wanted(here: Settings) -> list[str]:
    """Return the process's name, if it has to run."""
    try:
        fleet = Fleet(here)
        members = fleet.members()
    except MachineError:  # the fleet's file is damaged: reported by what watches the clusters
        return []
    answers = any(
        each.kind == "dedicated"
        and (
            each.wanted != "running"
            or each.auto_suspend_seconds is not None
            or fleet.of(each).is_without_port()
        )
        for each in members
    )
    return [NAME] if answers else []
