"""Forking from outside: a run that goes on from another one's points, made now and written to by whoever resumes it."""

from collections.abc import Mapping

from stratal.store.store import Store
from stratal.tracking.facts import Start, check_name, check_text, to_params, to_tags
from stratal.tracking.opening import current_store
from stratal.tracking.origins import find_origin, insert_fork
from stratal.tracking.reading import ReadRun, get_run
from stratal.tracking.runs import find_id


def fork(
    run: str,
    *,
    step: int,
    experiment: str | None = None,
    name: str = "",
    params: Mapping[str, object] | None = None,
    tags: Mapping[str, str] | None = None,
    store: Store | None = None,
) -> ReadRun:
    """Make a run whose points before `step` are another run's, shared and not copied; go on with `st.run(resume=its id)`.

    run: id, short form or ref of the other run, which may still be alive. Its kind, group, job type, params and tags are inherited;
    `params` and `tags` are put over them. experiment: None for the other run's. Raises NotFound, or Misuse for a step that cannot be.
    """
    store = store or current_store()
    check_text("name of the run", name)
    if experiment is not None:
        check_name("experiment", experiment)
    origin = find_origin(store, find_id(store, run), step)
    start = Start(
        experiment=experiment or origin.experiment,
        name=name,
        kind=origin.kind,
        group=origin.group,
        job_type=origin.job_type,
        params={**origin.params, **to_params(params or {})},
        tags={key: value for key, value in {**origin.tags, **to_tags(tags or {})}.items() if value is not None},
        user=store.actor().name,
    )
    return get_run(insert_fork(store, origin, start, is_open=False), store=store)
