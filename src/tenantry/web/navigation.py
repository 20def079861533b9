"""The pages that somebody may open, in groups. Pure."""

from dataclasses import dataclass

from tenantry.services.access.service import Principal


@dataclass(frozen=True, slots=True)
class Link:
    """A page of the side bar. One ``of_platform`` is for those who are bound to no customer."""

    path: str
    label: str
    scope: str
    of_platform: bool = False


_GROUPS = {
    "": (
        Link("/databases", "Databases", "databases:read"),
        Link("/operations", "Operations", "databases:read"),
        Link("/migrations", "Migrations", "databases:read"),
        Link("/blueprints", "Blueprints", "databases:read"),
        Link("/alerts", "Alerts", "databases:read"),
        Link("/sites", "AI cache", "databases:read"),
        Link("/plans", "Plans", "databases:read"),
        Link("/backup-schedules", "Backup schedules", "backups:read"),
    ),
    "Access": (
        Link("/keys", "API keys", "keys:read"),
        Link("/users", "Users", "admin", of_platform=True),
        Link("/customers", "Customers", "admin", of_platform=True),
        Link("/audit", "Audit", "audit:read"),
    ),
    "Platform": (
        Link("/platform", "Health", "platform:read", of_platform=True),
        Link("/clusters", "Clusters", "platform:read", of_platform=True),
    ),
}


def groups(principal: Principal | None) -> dict[str, list[Link]]:
    """Return the links of those who have signed in, by group; groups without any are left out."""
    if principal is None:
        return {}
    found = {
        name: [link for link in links if _may_open(principal, link)]
        for name, links in _GROUPS.items()
    }
    return {name: links for name, links in found.items() if links}


def _may_open(principal: Principal, link: Link) -> bool:
    return (principal.oversees if link.of_platform else principal.may)(link.scope)
