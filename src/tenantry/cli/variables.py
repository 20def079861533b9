"""The environment variables with which programs connect to a database."""

from dataclasses import dataclass, replace

from tenantry.base.connection_strings import Login, Style
from tenantry.cli.client import Row
from tenantry.cli.connecting import parameters


@dataclass(frozen=True, slots=True)
class Wanted:
    """The values from which the variables are made."""

    strings: Row
    ca_file: str
    password: str
    prefix: str = ""
    pooled: bool = False

    @property
    def mark(self) -> str:
        """Return the word that marks its lines: the database's name, or its additional role's.

        A role's lines never replace the owner role's, with a password that may be the only copy.
        """
        return str(self.strings.get("role") or self.strings["database_name"])

    def variables(self) -> dict[str, str]:
        """Return the variables, in the order in which they are written."""
        url = Style("psql", verify_full=True, ca_file=self.ca_file).render
        direct = self._login("connection_string")
        pooled = self._login("connection_string_pooled")
        here = pooled if self.pooled else direct
        variables = {"DATABASE_URL": url(pooled), "DIRECT_URL": url(direct)}
        if self.strings.get("shadow_database_url"):
            variables["SHADOW_DATABASE_URL"] = url(self._login("shadow_database_url"))
        variables |= parameters(here)
        variables |= {"PGPASSWORD": self.password, "PGSSLROOTCERT": self.ca_file}
        variables["NODE_EXTRA_CA_CERTS"] = self.ca_file
        if self.prefix:
            own = {
                "TYPE": "postgresql",
                "HOST": here.host,
                "PORT": str(here.port),
                "NAME": here.database,
                "USER": here.username,
                "PASSWORD": self.password,
                "SSLMODE": "verify-full",
                "SSL_MODE": "verify-full",
            }
            variables |= {f"{self.prefix}{name}": value for name, value in own.items()}
        return variables

    def _login(self, name: str) -> Login:
        return replace(Login.parse(self.strings[name]), password=self.password)
