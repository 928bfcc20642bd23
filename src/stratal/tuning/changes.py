"""Whether two studies of one name are the same one; if not, what changed, in words."""

from stratal.tuning.trials import StudyVersion


def explain_change(old: StudyVersion, new: StudyVersion, *, is_seed_free: bool) -> str:
    """Say what differs, as 'the data changed'; an empty text if they are the same. is_seed_free: any seed is the same."""
    differences = [
        (old.space != new.space, "the space"),
        (old.objective != new.objective, "the objective"),
        (old.data != new.data, "the data"),
        ((old.metric, old.is_maximized) != (new.metric, new.is_maximized), "the goal"),
        (old.sampler != new.sampler, "the sampler"),
        (not is_seed_free and old.seed != new.seed, "the seed"),
    ]
    changed = [what for differs, what in differences if differs]
    if not changed:
        return ""
    return f"{', '.join(changed[:-1])} and {changed[-1]} changed" if len(changed) > 1 else f"{changed[0]} changed"
