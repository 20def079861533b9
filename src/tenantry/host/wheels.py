"""Installed packages of which only files are used, such as scripts for browsers."""

import importlib.util
from pathlib import Path

from tenantry.base.errors import MachineError


def folder(package: str) -> Path:
    """Return the folder of an installed package without importing it: what it needs is missing.

    Raises MachineError.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise MachineError(f"The package {package} is not installed.", hint="Run ./tenantry up.")
    return Path(spec.submodule_search_locations[0])


def swagger_ui() -> Path:
    """Return the folder of Swagger UI's files. Raises MachineError."""
    return folder("drf_spectacular_sidecar") / "static/drf_spectacular_sidecar/swagger-ui-dist"
