"""Models and versions as MLflow's clients read them. Times in ms since 1970; what is empty is left out of answers."""

from collections.abc import Iterable

from stratal.interop.mlflow.service.calls import Answer
from stratal.interop.mlflow.service.names import ms_of
from stratal.interop.mlflow.service.records import TagPair
from stratal.interop.mlflow.service.store.registered import Head, VersionRow, Words
from stratal.registry import Stage

READY = "READY"
# MLflow's word for a stage that it does not have.
STAGES: dict[Stage, str] = {
    Stage.DEVELOPMENT: "None",
    Stage.STAGING: "Staging",
    Stage.PRODUCTION: "Production",
    Stage.ARCHIVED: "Archived",
}


class AliasOf(Answer, frozen=True, kw_only=True):
    """A word, and the version that it names."""

    alias: str
    version: str


class ModelVersion(Answer, frozen=True, kw_only=True):
    """A version of a registered model."""

    name: str
    version: str
    creation_timestamp: int
    last_updated_timestamp: int
    user_id: str = ""
    current_stage: str
    description: str  # said when it is empty, too: MLflow's client tells '' from none
    source: str = ""
    run_id: str = ""
    status: str
    tags: list[TagPair] = []
    run_link: str = ""
    aliases: list[str] = []
    model_id: str = ""


class RegisteredModel(Answer, frozen=True, kw_only=True):
    """A registered model. latest_versions: the newest of each stage."""

    name: str
    creation_timestamp: int
    last_updated_timestamp: int
    user_id: str = ""
    description: str = ""
    latest_versions: list[ModelVersion] = []
    tags: list[TagPair] = []
    aliases: list[AliasOf] = []


def to_version(name: str, row: VersionRow, words: Words) -> ModelVersion:
    """Give a version as clients read it."""
    place = (row.model, row.number)
    return ModelVersion(
        name=name, version=str(row.number), creation_timestamp=ms_of(row.shown_ns), last_updated_timestamp=ms_of(row.updated_ns),
        user_id=row.shown_author, current_stage=STAGES[row.stage], description=row.description,
        source=row.source or f"runs:/{row.home}/{row.path}", run_id=row.run if row.source else row.home, status=READY,
        tags=to_tags(words, place, row.stated), run_link=row.run_link, aliases=list(words.aliases.get(place, ())),
        model_id=row.logged_model,
    )  # fmt: skip


def to_model(head: Head, latest: Iterable[VersionRow], words: Words) -> RegisteredModel:
    """Give a model as clients read it."""
    return RegisteredModel(
        name=head.name, creation_timestamp=ms_of(head.at_ns), last_updated_timestamp=ms_of(head.updated_ns), user_id=head.owner,
        description=head.description or "",
        latest_versions=[to_version(head.name, row, words) for row in sorted(latest, key=lambda each: each.number)],
        tags=to_tags(words, (head.model, 0), {}),
        aliases=[AliasOf(alias=word, version=str(number)) for word, number in words.of_model.get(head.model, {}).items()],
    )  # fmt: skip


def to_tags(words: Words, place: tuple[str, int], stated: dict[str, str]) -> list[TagPair]:
    """Give the tags of a model (number 0) or version. stated: that stand whatever clients made of them."""
    return [TagPair(key=key, value=value) for key, value in {**words.tags.get(place, {}), **stated}.items()]
