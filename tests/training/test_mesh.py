"""Mesh strings: what runs, and the reason for what does not."""

import pytest

from stratal.core.errors import Misuse
from stratal.training.mesh import parse_mesh


def test_dp_takes_all_ranks_of_the_moment():
    assert str(parse_mesh("dp").on(3)) == "dp=3"


def test_dp_with_a_size_keeps_it():
    assert str(parse_mesh(" dp = 2 ").on(2)) == "dp=2"


def test_another_number_of_ranks_than_asked_for_is_refused():
    with pytest.raises(Misuse, match="needs 2 ranks, but 3 were started"):
        parse_mesh("dp=2").on(3)


def test_one_rank_takes_any_mesh():
    assert parse_mesh("dp=2").on(1).dp == 1


@pytest.mark.parametrize("text", ["zero1", "fsdp=2", "dp=2,tp=2", "pp=4", "hsdp", "cp=2", "auto"])
def test_axes_to_come_are_refused_by_name(text):
    with pytest.raises(Misuse, match="not available yet in this version"):
        parse_mesh(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "cannot be read"),
        ("dp=", "not a number of ranks"),
        ("dp=0", "not a number of ranks"),
        ("dp=-1", "not a number of ranks"),
        ("dp=two", "not a number of ranks"),
        ("dp=²", "not a number of ranks"),
        ("dp=2=3", "cannot be read"),
        ("dp=2,", "cannot be read"),
        ("dp=2,dp=3", "names the axis 'dp' twice"),
        ("ddp=2", "did you mean 'dp'"),
        ("warp=2", "axes are"),
        ("auto,dp=2", "stands alone"),
        ("zero1=2,fsdp=2", "adds nothing"),
        ("hsdp=2,fsdp=2", "already is data parallel"),
        ("dp,tp", "only one axis can take all remaining ranks"),
    ],
)
def test_wrong_meshes_say_why(text, reason):
    with pytest.raises(Misuse, match=reason):
        parse_mesh(text)
