"""The story: runs the lifecycle and says, line by line, what happened. Every number is read from the store."""

import threading
import time
from pathlib import Path
from typing import Any

import polars as pl
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

import stratal as st
from stratal.core.clock import to_utc
from stratal.core.people import Identity, acting_as
from stratal.data import ValidationFailed
from stratal.evaluation import read_results, write_report
from stratal.recipes.demo import lifecycle
from stratal.recipes.demo.customers import break_customers, load_customers
from stratal.store.store import Store
from stratal.tracking.reading import get_run
from stratal.tuning import find_study

BATCH = "churn-batch"
SAYS = {
    "valid": "validating", "served": "writing features for serving", "parts": "splitting", "network": "training a network on 2 ranks",
    "trained": "training the final model", "evaluated": "evaluating", "register": "registering", "promote": "promoting",
}  # fmt: skip


class Story:
    """Tells one run of the lifecycle on a store."""

    def __init__(self, store: Store, console: Console) -> None:
        self.store = store
        self.console = console
        self.began = time.monotonic()
        self._from_cache = 0
        self._studying = threading.Event()

    def tell(self) -> None:
        """Run everything, from raw rows to a prediction in production."""
        st.use_store(self.store)
        customers = load_customers()
        self.console.print(
            f"\n[bold]Stratal[/] · telecom churn · {customers.height:,} customers",
            f"[dim]store {_shown(self.store.folder)}[/]\n",
            sep="   ",
        )
        folder = self.store.folder / "demo"
        folder.mkdir(exist_ok=True)
        customers.write_csv(folder / "customers.csv")
        run = self._run_pipeline(folder / "customers.csv")
        self._data(run, customers)
        self._features(run)
        self._study()
        self._training(run)
        results = self._evaluation(run)
        self._registry(run)
        self._serving(run)
        self._why(run)
        self._end(run, results)

    def line(self, part: str, text: str, style: str = "") -> None:
        """Print one line of the story: markup is ours, values are escaped by who calls."""
        self.console.print(Text(f"  {part:<11} ", style="cyan"), Text.from_markup(text, style=style), sep="", soft_wrap=True)

    def _run_pipeline(self, rows: Path) -> Any:
        with Progress(
            TextColumn("  {task.description:<42}"), BarColumn(30), TextColumn("{task.fields[says]}"), console=self.console, transient=True
        ) as bars:
            steps = bars.add_task("lifecycle", total=None, says="")
            watcher = threading.Thread(target=self._watch_study, args=(bars,), daemon=True)
            watcher.start()

            def on_event(event: Any) -> None:
                name = event.path.rpartition("/")[2]
                self._from_cache += event.state == "hit"
                if name == "tuned" and event.state == "running":
                    self._studying.set()
                says = SAYS.get(name, "searching for good params") if event.state == "running" else ""
                bars.update(steps, total=event.total, completed=event.done, says=says or f"{event.done} of {event.total} steps")

            try:
                return lifecycle.churn.with_options(workers=2, on_event=on_event).run(rows=st.File(str(rows)))
            finally:
                self._studying.set()

    def _watch_study(self, bars: Progress) -> None:
        """Draw the study's progress while its step runs in another process."""
        self._studying.wait()
        task = bars.add_task("study:churn", total=lifecycle.TRIALS, says="")
        while not bars.finished:
            time.sleep(0.3)
            try:
                trials = find_study("churn", store=self.store).trials
            except st.StratalError:  # not there yet
                continue
            done = [trial for trial in trials if trial.status != "running"]
            stopped = sum(trial.status == "stopped" for trial in done)
            bars.update(task, completed=len(done), says=f"{len(done)} of {lifecycle.TRIALS} · {stopped} stopped early · 2 workers")
            if len(done) >= lifecycle.TRIALS:
                return

    def _data(self, run: Any, customers: Any) -> None:
        data = run.output("valid")
        self.line("data", f"[bold]{data.ref}[/]   {data.rows:,} x {len(data.columns)}   versioned, profiled, checked")
        self.line("", "a broken batch is refused before anything is trained:")
        batch = st.dataset(BATCH, break_customers(customers))
        try:
            batch.check(lifecycle.RAW, against=data.ref)
        except ValidationFailed as refused:
            for finding in refused.findings:
                colour = {"error": "red", "warn": "yellow"}.get(finding.severity, "dim")
                sign = {"error": "✕", "warn": "!"}.get(finding.severity, "·")
                self.line("", f"  [{colour}]{sign} {finding.column:<16}[/] {_plain(finding.message)}")

    def _features(self, run: Any) -> None:
        view = lifecycle.CUSTOMER
        said = run.output("served")
        self.line(
            "features", f"[bold]{view.version(store=self.store).ref}[/]   {len(view.features)} columns   {_plain(said.partition(': ')[2])}"
        )

    def _study(self) -> None:
        found = find_study("churn", store=self.store)
        stopped = sum(trial.status == "stopped" for trial in found.trials)
        best = found.best
        self.line("study", f"[bold]study:churn[/]   {len(found.trials)} trials · {stopped} stopped early · 2 workers")
        params = "   ".join(f"{name} {value:.3g}" for name, value in best.params.items())
        self.line("", f"best auc {best.value:.3f} in three folds (trial {best.number})   {params}")

    def _training(self, run: Any) -> None:
        model, network = run.output("trained"), run.output("network")
        auc = read_results(run.output("evaluated"), store=self.store).metrics["auc"].value
        self.line("train", f"run {model.run[-8:]}   gradient boosting              auc {auc:.3f} on the test set")
        self.line("", f"job {network['run'][-8:]}   network on 2 ranks, dp=2       auc {network['auc']:.3f} on the test set")

    def _evaluation(self, run: Any) -> Any:
        results = read_results(run.output("evaluated"), store=self.store)
        auc, profit = results.metrics["auc"], results.kpis["campaign profit"]
        profit_said = f"campaign profit {profit.value:,.0f} EUR at threshold {results.threshold:.2f}"
        self.line(
            "evaluate",
            f"auc {auc.value:.3f} \\[{auc.low:.3f}, {auc.high:.3f}]   {profit_said}",
        )
        facts: Any = get_run(run.output("evaluated").run, store=self.store).statements("evaluation")[-1].body["fairness"]
        gaps = [(name, facts[f"equalized_odds_difference[{name}]"]) for name in ("gender", "senior_citizen")]
        said = "   ".join(f"{name} {gap['value']:.2f} \\[{gap['low']:.2f}, {gap['high']:.2f}]" for name, gap in gaps)
        self.line("", f"fairness  {said}   (equalized odds difference; gender is gated at 0.15, senior citizen is reported)")
        return results

    def _registry(self, run: Any) -> None:
        version = run.output("register")
        self.line("registry", f"[bold]{version.ref}[/]   Development → Staging      [green]✓[/] all gates passed")
        try:
            st.promote(version, "Production")
            self.line("", "Staging → Production        [green]✓[/] in Production already, nothing to do")
            return
        except st.TransitionRefused as refused:
            missing = "; ".join(refused.assessment.ruling.missing) or "a gate holds it back"
            self.line("", f"Staging → Production        [red]✕[/] refused: {_plain(missing)}")
        with acting_as(Identity(name="maria")):
            st.approve(version.ref, "Production", note="report read, slices look fine")
        done = st.promote(version, "Production")
        self.line("", f"maria approves              [green]✓[/] {done.target}")

    def _serving(self, run: Any) -> None:
        model = st.load("model:churn@production", store=self.store)
        row = lifecycle.CUSTOMER.online("C0001", store=self.store)
        online = float(model.scores(row)[0])
        in_training = pl.concat(run.output("parts")).filter(pl.col("customer_id") == "C0001")
        offline = float(model.scores(in_training)[0])
        same = "the same as from the training frame" if online == offline else f"[red]but {offline:.6f} from the training frame[/]"
        self.line("serving", f"C0001 → churn {online:.4f}, {same}")

    def _why(self, run: Any) -> None:
        """Say where the model in production came from; each link is read from the store."""
        model, data, version = run.output("trained"), run.output("valid"), run.output("register")
        capture: Any = get_run(model.run, store=self.store).capture
        git, packages = capture.get("git"), capture.get("packages")
        code = f"code {git['commit'][:8]}{' + changes' if git['is_dirty'] else ''} · " if git else ""
        counted = f", {packages['count']} packages" if packages else ""
        best = find_study("churn", store=self.store).best
        approvals = [entry for entry in st.history("churn", store=self.store) if entry.action == "approve"]
        said = "".join(f" · approved by {entry.actor} {to_utc(entry.at_ns):%H:%M} UTC" for entry in approvals[-1:])
        self.console.print("\n  [bold]why model:churn@production[/]")
        for line in (
            f"{version.ref} ← run:{model.run[-8:]} ← {model.features} ← {data.ref} (sha256 {data.digest[:8]}…)",
            f"← study:churn trial {best.number} · {code}python {capture['python']}{counted} · seed {lifecycle.SEED}",
            f"← evaluation run:{run.output('evaluated').run[-8:]} · all gates passed{said}",
        ):
            self.console.print(Text(f"    {line if line.startswith(version.ref) else ' ' * len(version.ref) + ' ' + line}"), soft_wrap=True)

    def _end(self, run: Any, results: Any) -> None:
        folder = self.store.folder / "reports"
        folder.mkdir(exist_ok=True)
        report = write_report(run.output("evaluated"), folder / f"churn-{run.output('register').number}.html", store=self.store)
        network = run.output("network")["run"][-8:]
        model = run.output("trained").run[-8:]
        self.console.print()
        self.line("report", f"[bold]{_shown(Path(report))}[/]")
        self.line(
            "next",
            f"stratal runs · stratal compare {model} {network} · stratal why model:churn@production",
        )
        took = time.monotonic() - self.began
        again = (
            f"{self._from_cache} steps came from the cache."
            if self._from_cache
            else "Run it again: what has not changed comes from the cache."
        )
        self.console.print(f"  [dim]{took:.0f} s. {again}[/]\n")


def _shown(path: Path) -> str:
    here = Path.cwd()
    return f"./{path.relative_to(here)}" if path.is_relative_to(here) else str(path)


def _plain(text: str) -> str:
    return text.replace("[", "\\[")
