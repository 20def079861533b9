"""What a reset of the session after each pooled transaction costs.

The same PgBouncer runs side by side with each reset query, and with none after a transaction.
They take turns in short blocks; what is compared are the ratios within one round. The noise is
how far apart two PgBouncers without a reset are.
"""

import statistics
from contextlib import ExitStack
from typing import Any

from pooling import Load, Way, finished, pgbouncer, platform_settings, rate
from support import Aim, Installation, Report, installation, machine, run, say

# The commands of DISCARD ALL (its documentation lists them), without those that forget plans.
KEEP_PLANS = (
    "CLOSE ALL; SET SESSION AUTHORIZATION DEFAULT; RESET ALL; UNLISTEN *;"
    " SELECT pg_catalog.pg_advisory_unlock_all(); DISCARD TEMP; DISCARD SEQUENCES"
)
DEALLOCATE_ONLY_SQL = (
    "DO $$ DECLARE s record; BEGIN FOR s IN SELECT name FROM pg_catalog.pg_prepared_statements"
    " WHERE from_sql LOOP EXECUTE pg_catalog.format('DEALLOCATE %I', s.name); END LOOP; END $$"
)
RESETS: dict[str, str | None] = {
    "none": None,
    "none again": None,
    "DISCARD ALL": "DISCARD ALL",
    "all but plans": KEEP_PLANS,
    "all but plans, SQL PREPARE too": f"{KEEP_PLANS}; {DEALLOCATE_ONLY_SQL}",
}
LOADS: dict[str, tuple[str, ...]] = {
    "1 client, reads": ("--client=1", "--select-only"),
    "20 clients, reads": ("--client=20", "--select-only"),
    "20 clients, reads, prepared": ("--client=20", "--select-only", "--protocol=prepared"),
    "20 clients, updates": ("--client=20", "--skip-some-updates"),
    "20 clients, updates, prepared": (
        "--client=20", "--skip-some-updates", "--protocol=prepared",
    ),
}  # fmt: skip

LEAST = {name: 0.8 if "updates" in name else 0.3 for name in LOADS}


def compare(to: dict[str, Way], load: Load, options: tuple[str, ...]) -> dict[str, Any]:
    """Transactions a second of each reset, and the median of the rounds' ratios to none."""
    rates: dict[str, list[float]] = {name: [] for name in to}
    for turn in range(load.pairs):
        for name in list(to)[:: 1 if turn % 2 == 0 else -1]:
            rates[name].append(rate(to[name], options, load))
    say(", ".join(f"{name} {statistics.median(each):,.0f}/s" for name, each in rates.items()))
    return {
        name: {
            "transactions_per_second": round(statistics.median(each)),
            "ratio": round(
                statistics.median(
                    one / none for one, none in zip(each, rates["none"], strict=True)
                ),
                3,
            ),
        }
        for name, each in rates.items()
    }


def poolers(here: Installation, stack: ExitStack, load: Load) -> dict[str, Way]:
    """A PgBouncer for each reset query, to one new database with data."""
    made = here.create(maxConnections=150)
    name, user, password = made["database_name"], made["username"], made["password"]
    straight = Way(here.pg_port, name, user, password)
    finished(straight.pgbench("--initialize", "--quiet", "--scale", str(load.scale)))
    to = {}
    for number, (label, query) in enumerate(RESETS.items()):
        settings = platform_settings(here)
        settings["pgbouncer"]["server_reset_query"] = query or "DISCARD ALL"
        settings["pgbouncer"]["server_reset_query_always"] = "0" if query is None else "1"
        port, pid = stack.enter_context(pgbouncer(here, f"reset-{number}", settings))
        to[label] = Way(port, name, user, password, pid)
    return to


def benchmark(quick: bool) -> Report:
    load = Load(20, 2, 3, 1) if quick else Load(20, 3, 7, 10)
    with installation(warm_pool=1) as here, ExitStack() as stack:
        to = poolers(here, stack, load)
        results: dict[str, Any] = {
            name: compare(to, load, options) for name, options in LOADS.items()
        }
        of = machine(here)
    aims = [
        Aim.at_least(f"{name}: rate / none", found["DISCARD ALL"]["ratio"], LEAST[name])
        for name, found in results.items()
    ]
    return Report(of, results, aims)


if __name__ == "__main__":
    run("reset", __doc__, benchmark)
