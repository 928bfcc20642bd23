"""What the commands of the trunk print: tables, trees and JSON documents of runs, comparisons and lineage."""

from collections.abc import Callable, Container, Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from stratal.cli.logged import alerts_section, media_section
from stratal.cli.printing import (
    PIPE_WIDTH,
    cell,
    measured,
    moment,
    pairs,
    plain,
    section,
    shown,
    signed,
    span,
    sparkline,
    status_cell,
    table,
)
from stratal.core.ids import short
from stratal.tracking.artifacts import ArtifactFile, ArtifactFolder
from stratal.tracking.capture import Capture
from stratal.tracking.compare import Comparison, MetricRow, Row
from stratal.tracking.definitions import SummaryValue
from stratal.tracking.diffing import FileDiff
from stratal.tracking.directions import MAXIMIZE, MINIMIZE
from stratal.tracking.explaining import capture_of
from stratal.tracking.facts import SYSTEM
from stratal.tracking.finding import Runs, find_runs
from stratal.tracking.lineage import Lineage, Node
from stratal.tracking.media.places import FOLDER as MEDIA_FOLDER
from stratal.tracking.reading import ReadRun

_MARKS = {MINIMIZE: "↓", MAXIMIZE: "↑"}
MOST_ROWS = 40  # of params, metrics and packages; --json gives all
SPARKS = 24  # of a metric's line


def brief(run: ReadRun) -> dict[str, object]:
    """Give a run as `stratal runs --json` lists it."""
    return {
        "id": run.id,
        "experiment": run.experiment,
        "name": run.name,
        "kind": run.kind,
        "group": run.group,
        "job_type": run.job_type,
        "parent": run.parent,
        "forked_from": run.forked_from,
        "deleted": run.deleted,
        "user": run.user,
        "status": run.status,
        "started": run.started,
        "ended": run.ended,
        "duration_s": run.duration_s,
        "params": run.params,
        "metrics": run.metrics,
        "tags": run.tags,
    }


def whole(run: ReadRun) -> dict[str, object]:
    """Give a run as `stratal show --json` prints it; series are read in Python."""
    return {
        **brief(run),
        "error": run.error,
        "lost_calls": run.lost_calls,
        "summaries": run.summaries,
        "summary": run.summary,
        "definitions": run.definitions,
        "alerts": run.alerts,
        "media": run.media_summaries,
        "artifacts": run.artifacts,
        "edges": run.edges,
        "notes": run.notes,
        "children": run.children,
        "statements": run.statements(),
        "capture": run.capture,
    }


def brief_value(value: object) -> object:
    """Give what a ref stands for as JSON."""
    if isinstance(value, bytes):
        return {"size_bytes": len(value)}
    if isinstance(value, Runs):
        return [brief(run) for run in value]
    if isinstance(value, ArtifactFile):
        return {"run": value.run, "path": value.path_in_run, "size_bytes": value.size_bytes}
    if isinstance(value, ArtifactFolder):
        return {"run": value.run, "path": value.path_in_run, "size_bytes": value.size_bytes, "files": [f.path_in_run for f in value]}
    return plain(value)


def value_page(ref: str, digest: str, value: object, width: int = PIPE_WIDTH) -> list[RenderableType]:
    """Show what a ref stands for that is no run. What is nested is only counted: --json gives it."""
    page = pairs()
    page.add_row("ref", cell(ref, "bold"))
    page.add_row("digest", cell(digest))
    if isinstance(value, Runs):
        return [page, "", runs_table(value, width)]
    document = brief_value(value)
    for name, item in document.items() if isinstance(document, dict) else [("value", document)]:
        if name not in ("ref", "digest"):
            page.add_row(str(name), cell(_unfolded(item)))
    return [page]


def _unfolded(item: object) -> object:
    if isinstance(item, list) and not any(isinstance(each, list | dict) for each in item):
        return ", ".join(shown(each) for each in item)
    return f"{len(item)} part{'' if len(item) == 1 else 's'}; --json gives all" if isinstance(item, list | dict) else item


def runs_table(found: Sequence[ReadRun], width: int = PIPE_WIDTH) -> Table:
    """Give a table as wide as `width`: the metrics that most of these runs have, at most five, as far as they fit.

    Where it is narrow the kind and the duration give way too; the first metric goes last."""
    counts: dict[str, int] = {}
    for run in found:
        for name in (name for name in run.metrics if not name.startswith(SYSTEM)):
            counts[name] = counts.get(name, 0) + 1
    metrics = sorted(counts, key=lambda name: (-counts[name], name))[:5]
    kinds = ["kind"] if any(run.kind != "train" for run in found) else []
    giving_way = [*reversed(metrics[1:]), *kinds, "took", *metrics[:1]]
    for given in range(len(giving_way) + 1):
        left = set(giving_way[given:])
        page = _runs_table(found, left - set(metrics), [name for name in metrics if name in left])
        if measured(page) <= width:
            break
    hidden = len(counts) - len(left & set(metrics))
    if hidden:
        page.caption = f"{hidden:,} more metric{'s' if hidden > 1 else ''}; --json gives all"
    return page


def _runs_table(found: Sequence[ReadRun], parts: Container[str], metrics: Sequence[str]) -> Table:
    columns: dict[str, Callable[[ReadRun], Text]] = {
        "run": lambda run: cell(run.short, "bold"),
        "experiment": lambda run: cell(run.experiment),
        "name": lambda run: cell(run.name),
        "kind": lambda run: cell(run.kind),
        "status": lambda run: status_cell(run.status),
        "started (UTC)": lambda run: cell(moment(run.record.started_ns)[:16]),
        "took": lambda run: cell(span(run.duration_s)),
    }
    skipped = {name for name in ("kind", "took") if name not in parts}
    skipped |= {"name"} if not any(run.name for run in found) else set()
    heads = [name for name in columns if name not in skipped]
    page = table(*heads, *metrics, numbers=["took", *metrics])
    page.caption_justify, page.caption_style = "left", "dim"
    for column in page.columns:
        if column.header in ("experiment", "name"):
            column.max_width = 28  # longer ones go on in the next line
        else:
            column.no_wrap, column.max_width, column.overflow = True, 20, "ellipsis"
    for run in found:
        page.add_row(*(columns[name](run) for name in heads), *(cell(run.metrics.get(name)) for name in metrics))
    return page


def run_page(run: ReadRun, width: int = PIPE_WIDTH) -> list[RenderableType]:
    """Show one run: head, params, metrics, alerts, media, artifacts, lineage, capture."""
    parts: list[RenderableType] = [_run_head(run)]
    if run.params:
        params = table("param", "value")
        for name in sorted(run.params)[:MOST_ROWS]:
            params.add_row(cell(name), cell(run.params[name]))
        parts += [*section("params", params), *_more(len(run.params))]
    if run.summaries:
        parts += [*section("metrics", _metrics_table(run, width)), *_more(len(run.summaries))]
    parts += alerts_section(run)
    parts += media_section(run)
    if files := [artifact for artifact in run.artifacts if not artifact.path.startswith(f"{MEDIA_FOLDER}/")]:
        artifacts = table("artifact", "bytes", "sha256", numbers=["bytes"])
        for artifact in files[:MOST_ROWS]:
            artifacts.add_row(cell(artifact.path), cell(f"{artifact.size_bytes:,}"), cell(artifact.digest[:12], "dim"))
        parts += [*section("artifacts", artifacts), *_more(len(files))]
    if run.edges:
        edges = table("", "what", "role")
        for edge in run.edges[:MOST_ROWS]:
            edges.add_row(cell(edge.verb), cell(_short_ref(edge.target)), cell(edge.role))
        parts += [*section("lineage", edges), *_more(len(run.edges))]
    capture = capture_of(run)
    return [*parts, *(section("capture", _capture_table(capture)) if capture is not None else [])]


def _run_head(run: ReadRun) -> Table:
    head = pairs()
    head.add_row("run", Text.assemble((run.short, "bold"), f"  {run.id}"))
    head.add_row("experiment", cell(run.experiment))
    for name, value in (
        ("name", run.name),
        ("group", run.group),
        ("job type", run.job_type),
        ("part of", short(run.parent) if run.parent else ""),
    ):
        if value:
            head.add_row(name, cell(value))
    if run.forked_from is not None:
        head.add_row("goes on from", cell(f"{short(run.forked_from[0])}, its points before step {run.forked_from[1]}"))
    head.add_row("status", Text.assemble(status_cell(run.status), f"  {run.kind} by {run.user or 'unknown'}"))
    head.add_row("started", cell(f"{moment(run.record.started_ns)} UTC, took {span(run.duration_s)}"))
    if run.deleted:
        head.add_row("deleted", cell(f"{moment(run.record.deleted_ns)} UTC; stratal restore {run.short} brings it back", "yellow"))
    if run.error:
        head.add_row("error", cell(run.error, "red"))
    if run.lost_calls:
        head.add_row("lost", cell(f"{run.lost_calls} calls that could not be written", "red"))
    for name, value in run.tags.items():
        head.add_row("tag", cell(f"{name} = {value}"))
    for note in run.notes:
        head.add_row("note", cell(f"{note.text}  ({note.author}, {moment(note.at_ns)})"))
    if run.children:
        shown_ids = ", ".join(short(child) for child in run.children[:12])
        head.add_row(
            "parts",
            cell(f"{len(run.children)} run{'' if len(run.children) == 1 else 's'}: {shown_ids}{' ...' if len(run.children) > 12 else ''}"),
        )
    return head


def _metrics_table(run: ReadRun, width: int) -> Table:
    """A row per metric. Where it is narrow columns give way, so that no number is broken into lines."""
    defined = run.summary if run.definitions else {}
    rows: list[dict[str, Text]] = []
    for summary in sorted(run.summaries, key=lambda summary: summary.name.startswith(SYSTEM))[:MOST_ROWS]:
        line = sparkline(run.envelope(summary.name, SPARKS).last.tolist()) if summary.points > 1 else ""
        row = {"metric": cell(summary.name), "last": cell(summary.last, "bold"), "min": cell(summary.low), "max": cell(summary.high)}
        row |= {"points": cell(summary.points), "": cell(line, "cyan")}
        rows.append(row | ({"stands for it": _stands(defined[summary.name])} if defined else {}))
    giving_way = ("", "points", "min", "max")  # the drawing first
    for given in range(len(giving_way) + 1):
        heads = [head for head in rows[0] if head not in giving_way[:given]]
        page = table(*heads, numbers=["last", "min", "max", "points"])
        for row in rows:
            page.add_row(*(row[head] for head in heads))
        if measured(page) <= width:
            break
    for column in page.columns[1:]:
        column.no_wrap = True
    return page


def _stands(summary: SummaryValue) -> Text:
    at = "" if summary.step is None else f" at step {summary.step}"
    return cell(f"{summary.how} {shown(summary.value)}{at}")


def _capture_table(capture: Capture) -> Table:
    page = pairs()
    entry, git, hardware = capture.entry, capture.git, capture.hardware
    page.add_row("entry", cell(f"{entry.kind} {entry.target} {' '.join(entry.argv)}".strip()))
    page.add_row("python", cell(f"{capture.implementation} {capture.python} on {capture.system}"))
    page.add_row("where", cell(f"{capture.host}, process {capture.pid}"))
    if git is not None:
        state = "with changes" if git.is_dirty else "clean"
        page.add_row("code", cell(f"{(git.commit or 'no commit')[:12]} {git.branch or '(detached)'}, {state}"))
    if capture.packages is not None:
        page.add_row("packages", cell(f"{capture.packages.count}"))
    if capture.files:
        page.add_row("files", cell(f"{len(capture.files)} kept"))
    if hardware is not None:
        gpus = ", ".join(gpu.name for gpu in hardware.gpus) or "no GPU"
        page.add_row("hardware", cell(f"{hardware.processor}, {hardware.usable_cores:g} cores, {hardware.memory_bytes >> 30} GiB, {gpus}"))
    if capture.seeds is not None and capture.seeds.seed is not None:
        page.add_row("seed", cell(f"{capture.seeds.seed} ({', '.join(capture.seeds.seeded)})"))
    for reason in capture.skipped:
        page.add_row("skipped", cell(reason, "yellow"))
    return page


def comparison_page(comparison: Comparison) -> list[RenderableType]:
    """Show a comparison: one column per run, only what differs."""
    labels = [column.label for column in comparison.runs]
    heads = table("", *labels, numbers=labels)
    heads.add_row("run", *(cell(short(column.id)) for column in comparison.runs))
    heads.add_row("experiment", *(cell(column.experiment) for column in comparison.runs))
    heads.add_row("status", *(status_cell(column.status) for column in comparison.runs))
    parts: list[RenderableType] = [heads]
    if comparison.metrics:
        metrics = table("", *labels, numbers=labels)
        for row in comparison.metrics[:MOST_ROWS]:
            metrics.add_row(cell(f"{row.name} {_MARKS.get(row.direction, '')}{'?' * row.is_guessed}".rstrip()), *_metric_cells(row))
        parts += [*section("metrics", metrics), *_more(len(comparison.metrics))]
        if any(row.is_guessed for row in comparison.metrics):
            parts.append(Text("? guessed from the name; say --minimize NAME or --maximize NAME", style="dim"))
    for title, rows in (
        ("params", comparison.params),
        ("data", comparison.data),
        ("code", comparison.code),
        ("environment", comparison.environment),
        ("packages", comparison.packages),
    ):
        if rows:
            parts += [*section(f"{title} that differ", _differences(labels, rows)), *_more(len(rows))]
    for run in comparison.diffs:
        for file in run.files:
            parts += section(f"{run.label}: {file.name} {file.change}", _diff(file))
    if comparison.equal_params:
        equal = comparison.equal_params
        parts += ["", Text(f"{equal} params are equal" if equal > 1 else "1 param is equal", style="dim")]
    if comparison.not_captured:
        parts.append(Text(f"no capture of {', '.join(comparison.not_captured)}: code and environment are not known", style="dim"))
    if comparison.cut_short:
        early = ", ".join(comparison.cut_short)
        parts.append(Text(f"{early} ended before all was captured: packages, code and machine are not known", style="dim"))
    return parts


def _diff(file: FileDiff) -> Text:
    colours = {"+": "green", "-": "red", "@": "cyan"}
    shown_lines = Text("\n").join(Text(line, style=colours.get(line[:1], "")) for line in file.lines)
    return shown_lines.append(f"\n... and {file.hidden:,} more lines" if file.hidden else "", style="dim")


def _metric_cells(row: MetricRow) -> list[Text]:
    cells = []
    for position, (value, delta) in enumerate(zip(row.values, row.deltas, strict=True)):
        text = Text(shown(value), style="bold green" if position in row.best else "")
        if position and signed(delta):
            text.append(f" {signed(delta)}", style="dim")
        cells.append(text)
    return cells


def _differences(labels: Sequence[str], rows: Sequence[Row]) -> Table:
    page = table("", *labels, numbers=labels)
    for row in rows[:MOST_ROWS]:
        page.add_row(cell(row.name), *(cell(_short_ref(shown(value))) for value in row.values))
    return page


def lineage_page(lineage: Lineage) -> list[RenderableType]:
    """Show both trees; the second only if there is something in it."""
    titles = _titles([lineage.origins, lineage.uses])
    parts: list[RenderableType] = [_tree(lineage.origins, titles)]
    if lineage.uses.branches or lineage.uses.hidden:
        parts += ["", Text("what came of it", style="dim"), _tree(lineage.uses, titles)]
    elif not lineage.origins.branches:
        parts.append(Text("No run is known to have used or produced it.", style="dim"))
    return parts


def _tree(node: Node, titles: dict[str, str]) -> Tree:
    tree = Tree(_node_label(node, titles), guide_style="dim")
    _grow(tree, node, titles)
    return tree


def _grow(tree: Tree, node: Node, titles: dict[str, str]) -> None:
    for branch in node.branches:
        _grow(tree.add(_node_label(branch, titles)), branch, titles)
    if node.hidden:
        tree.add(Text(f"... and {node.hidden} more", style="dim"))


def _node_label(node: Node, titles: dict[str, str]) -> Text:
    role = f" as {node.role}" if node.role and not node.role.startswith("artifact ") else f" ({node.role})" if node.role else ""
    label = Text.assemble((f"{node.relation} " if node.relation else "", "dim"), (_short_ref(node.ref), "bold"), (role, "dim"))
    if node.ref in titles:
        label.append(f"  {titles[node.ref]}")
    if node.is_repeated:
        label.append("  (shown elsewhere)", style="dim")
    return label


def _titles(nodes: Sequence[Node]) -> dict[str, str]:
    """Say of each run of the trees what it was."""
    ids: set[str] = set()
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        waiting.extend(node.branches)
        if node.ref.startswith("run:"):
            ids.add(node.ref.removeprefix("run:"))
    if not ids:
        return {}
    listed = ", ".join(f"'{id}'" for id in sorted(ids) if len(id) == 32)
    return {
        f"run:{run.id}": f"{run.experiment} {run.name} ({run.kind}, {run.status})".replace("  ", " ")
        for run in find_runs(f"id in ({listed})")
    }


def _short_ref(ref: str) -> str:
    if ref.startswith("run:") and len(ref) == 36:
        return f"run:{short(ref)}"
    return f"{ref[:19]}…" if ref.startswith("sha256:") and len(ref) == 71 else ref


def _more(count: int) -> list[RenderableType]:
    return [Text(f"... and {count - MOST_ROWS} more; --json gives all", style="dim")] if count > MOST_ROWS else []
