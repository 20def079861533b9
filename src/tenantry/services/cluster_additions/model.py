"""The operation that adds a shared cluster. Values only."""

from tenantry.services.operations.model import Kind, Params, State


class AddParams(Params):
    """The new cluster: its name, its driver, and its port."""

    name: str
    driver: str
    port: int


ADD = Kind("cluster.add", AddParams, State)
