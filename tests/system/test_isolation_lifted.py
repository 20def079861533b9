"""Each protection taken away: the attempt that it held must get through then.

On an installation of its own, which is less safe from test to test.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from attempts import DIRECT, POOLED, THROUGH, Attempt, Lift, Scenario, as_superuser, two_tenants
from attempts_all import ATTEMPTS
from clients import eventually, hurry
from harness import Installation


@pytest.fixture(scope="module")
def scenario() -> Iterator[Scenario]:
    """An installation of its own: rules are lifted in it that others rely on."""
    installation = Installation()
    try:
        installation.up()
        hurry(installation)
        with two_tenants(installation) as scenario:
            yield scenario
    finally:
        installation.remove()


@contextmanager
def rewritten(path: Path, text: str, pid_file: Path) -> Iterator[None]:
    """A file says this meanwhile, and its server has been reported to read it."""
    before = path.read_text()
    pid = int(pid_file.read_text().split("\n", 1)[0])
    try:
        path.write_text(text)
        os.kill(pid, signal.SIGHUP)
        yield
    finally:
        path.write_text(before)
        os.kill(pid, signal.SIGHUP)


@contextmanager
def lifted(scenario: Scenario, lift: Lift) -> Iterator[None]:
    home = scenario.platform.home
    data, pooler = home / "clusters" / "shared-1" / "data", home / "pooler"
    pooler_pid = home / "run" / "pooler.pid"
    with ExitStack() as stack:
        # The worker puts files right that somebody else has changed, each minute.
        if lift.stop_worker or lift.rule or lift.pooler_rule or lift.pooler_setting:
            worker = scenario.platform.pids()["worker"]
            os.kill(worker, signal.SIGSTOP)
            stack.callback(os.kill, worker, signal.SIGCONT)
        if lift.rule:
            rules = data / "pg_hba.conf"
            text = f"{lift.rule.format(**scenario.words)}\n{rules.read_text()}"
            stack.enter_context(rewritten(rules, text, data / "postmaster.pid"))
        if lift.pooler_rule:
            rules = pooler / "hba.conf"
            text = f"{lift.pooler_rule.format(**scenario.words)}\n{rules.read_text()}"
            stack.enter_context(rewritten(rules, text, pooler_pid))
        if lift.pooler_setting:
            name, value = lift.pooler_setting
            settings = pooler / "pgbouncer.ini"
            lines = [
                f"{name} = {value.format(**scenario.words)}"
                if line.startswith(f"{name} =")
                else line
                for line in settings.read_text().split("\n")
            ]
            stack.enter_context(rewritten(settings, "\n".join(lines), pooler_pid))
        as_superuser(scenario, lift.take)
        try:
            yield
        finally:
            as_superuser(scenario, lift.give_back)


def each_lift() -> Iterator[tuple[Attempt, Lift, str]]:
    for attempt in ATTEMPTS:
        if attempt.lift is not None:
            for endpoint in (
                attempt.lift_endpoints if len(attempt.endpoints) > 1 else attempt.endpoints
            ):
                yield attempt, attempt.lift, endpoint


@pytest.mark.parametrize(
    ("attempt", "lift", "endpoint"),
    [pytest.param(*each, id=f"{each[0].name}-{each[2]}") for each in each_lift()],
)
def test_with_its_protection_gone_it_gets_through(
    scenario: Scenario, attempt: Attempt, lift: Lift, endpoint: str
) -> None:
    said = []

    def gets_through() -> bool:
        said.append(attempt.tries(scenario, endpoint))
        return said[-1] == THROUGH

    with lifted(scenario, lift):
        try:
            # Servers read their files, and the pooler logs in to one again, in their own time.
            eventually(gets_through)
        except AssertionError:
            pytest.fail(f"still refused: {said[-1]}")


def test_most_protections_are_taken_away_by_one_test() -> None:
    """What has none is held by PostgreSQL alone; see docs/reference/security.md."""
    assert sum(attempt.lift is not None for attempt in ATTEMPTS) >= 60
    assert {DIRECT, POOLED} == {endpoint for _, _, endpoint in each_lift()}
