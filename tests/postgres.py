"""PostgreSQL for tests: one server per test process, started when the first test wants it, and wiped databases on it."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from stratal.core.errors import StoreDown
from stratal.store import store as store_module
from stratal.store.migrating import open_service
from stratal.testing.postgres import PostgresServer

# Each room's conformance, and what settles, runs over both databases; but for tests that look into a file, or take long.
ON_BOTH = {
    "test_settling",
    "test_large_facts",
    "test_waiting_for_events",
    "test_mlflow_experiments",
    "test_store",
    "test_transactions",
    "test_busy_stores",
    "test_odd_input",
    "test_odd_facts",
    "test_search_in_the_store",
    "test_comparison",
    "test_deleting",
    "test_quotas",
    "test_forks",
    "test_finding_runs",
    "test_ends_of_runs",
    "test_saved_views",
    "test_metric_definitions",
    "test_approving",
    "test_relays",
    "test_registering",
    "test_stages",
    "test_machines",
    "test_names",
    "test_datasets",
    "test_online",
    "test_views",
    "test_study_store",
    "test_running",
    "test_jobs",
    "test_arrivals",
    "test_takeovers",
    "test_our_failures",
    "test_ingest",
    "test_naming_blobs",
    "test_proofs",
    "test_importing_over_http",
    "test_importing_there",
    "test_exporting_over_http",
}
SQLITE_ONLY = {
    "test_a_settling_that_dies_between_any_two_steps_is_finished_by_the_next",  # a store for each step
    "test_any_calls_through_any_relays_in_any_order_give_a_set",  # makes a folder per example
    "test_without_the_gate_a_file_is_had_by_its_digest_when",
    "test_every_surface_that_acts_for_a_sender_says_so_to_the_gate",
    "test_spawned_processes_join_a_living_run_without_a_new_epoch",  # the fork server keeps the state folder of the first test
    "test_a_process_that_only_logs_settles_what_it_filled",
    "test_an_interrupt_right_after_a_statement_leaves_no_transaction_and_no_gate",
    "test_a_transaction_inside_another_one_of_its_thread_is_our_bug_and_harms_neither",
    "test_a_commit_that_fails_raises_changes_nothing_and_forgets_the_ids_that_it_gave",
    "test_every_search_compiles_for_postgresql",
    "test_the_list_of_tables_is_whole",
    "test_a_fork_shares_points_before_its_step_and_goes_on_from_there",
    "test_the_migrated_table_is_the_declared_one",
    "test_many_processes_registering_the_same_contents_agree",
    "test_facts_of_three_epochs_in_any_order_of_arrival_give_the_same_run",
    "test_any_order_of_any_tries_ends_with_the_same_rows",
    "test_steps_run_at_the_same_time",  # these five are about processes, which start slowly
    "test_a_step_that_runs_too_long_is_ended_and_named",
    "test_whatever_a_step_raises_is_its_failure",
    "test_large_and_odd_values_pass_between_steps",
    "test_a_step_has_workers_of_its_own",
}


def over(module: str, test: str) -> list[str]:
    """Give the databases that a test runs over."""
    return ["sqlite", "postgresql"] if module in ON_BOTH and test not in SQLITE_ONLY else ["sqlite"]


# Rows go, tables stay: 5 ms; a copy of a template takes 200. What never changes may be wiped here alone.
_WIPE = """
set session_replication_role = replica;
do $$
declare one record; has_rows boolean;
begin
  for one in select tablename as name from pg_tables where schemaname = 'public' and tablename not in ('alembic_version', 'about') loop
    execute format('select exists (select from %I)', one.name) into has_rows;
    if has_rows then execute format('delete from %I', one.name); end if;
  end loop;
  for one in select sequencename as name from pg_sequences where schemaname = 'public' and last_value is not null loop
    perform setval(one.name::regclass, 1, false);
  end loop;
  insert into registry_audit_head (id, seq, hash, at_ns) values (1, 0, repeat('0', 64), 0);
  insert into mlflow_experiment (id, name, location, created_ns, changed_ns) values (0, 'Default', '', 0, 0);
end $$
"""


class Databases:
    """Databases at today's schema, each of one test at a time."""

    def __init__(self, server: PostgresServer) -> None:
        self.server = server
        self._template = server.make_database()
        open_service(server.url(self._template), "template").close()
        self._free: list[str] = []
        self._lent = 0

    @contextmanager
    def lend(self) -> Iterator[str]:
        """Give the URL of an empty one; never one that was given before, since processes remember what they saw there."""
        self._lent += 1
        name = self._free.pop() if self._free else self.server.make_database(template=self._template)
        try:
            yield f"{self.server.url(name)}&application_name=test{self._lent}"
        finally:
            self.server.run_sql(f"select pg_terminate_backend(pid) from pg_stat_activity where datname = '{name}'")
            self.server.run_sql(_WIPE, database=name)
            self._free.append(name)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A server of this test process. Where there is none, tests are skipped, but not where CI is set."""
    try:
        server = PostgresServer()
    except StoreDown as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))
    with server:
        yield server


@pytest.fixture
def lent(databases: "Databases", tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], str]]:
    """Give a function that gives URLs of empty stores; nothing settles beside the test, but what it calls."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    upload_aside, compacting = store_module.upload_aside, store_module.compacting
    monkeypatch.setattr(
        store_module, "upload_aside", lambda writer, begin: getattr(begin, "func", 0) is not compacting and upload_aside(writer, begin)
    )
    with ExitStack() as stack:
        yield lambda: stack.enter_context(databases.lend())


@pytest.fixture(scope="session")
def databases(postgres_server: PostgresServer) -> Databases:
    return Databases(postgres_server)
