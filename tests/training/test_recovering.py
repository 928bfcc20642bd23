"""The rule after a generation has ended badly, without any process."""

from stratal.training.messages import Raised
from stratal.training.recovering import Ending, decide, find_culprit

KILLED = Ending(rank=1, exit_code=-9)
LOST = Ending(rank=0, exit_code=1, raised=Raised(text="RankLost: gone", is_consequence=True))
RAISED = Ending(rank=2, exit_code=1, raised=Raised(text="ValueError: no"))
GOOD = Ending(rank=3, exit_code=0, has_returned=True)


def test_a_killed_rank_explains_those_who_lost_it():
    assert find_culprit([GOOD, LOST, KILLED]) is KILLED


def test_a_program_error_explains_those_who_lost_its_rank():
    assert find_culprit([LOST, RAISED]) is RAISED


def test_a_death_with_a_checkpoint_starts_again():
    decision = decide([LOST, KILLED], restarts_left=1, checkpoint_step=50)
    assert decision.starts_again
    assert decision.reason == "rank 1 was killed by signal 9 (SIGKILL)"


def test_a_death_without_a_checkpoint_gives_up_and_says_what_would_help():
    decision = decide([KILLED], restarts_left=3, checkpoint_step=None)
    assert not decision.starts_again
    assert "no checkpoint to go back to" in decision.hint


def test_the_last_restart_is_the_last():
    decision = decide([KILLED], restarts_left=0, checkpoint_step=50)
    assert not decision.starts_again
    assert "no restart is left" in decision.hint


def test_a_program_error_is_not_tried_again():
    decision = decide([RAISED, LOST], restarts_left=3, checkpoint_step=50)
    assert not decision.starts_again
    assert "ValueError: no" in decision.reason


def test_a_lost_rank_without_a_culprit_starts_again():
    assert decide([LOST], restarts_left=1, checkpoint_step=0).starts_again


def test_an_exit_in_the_middle_is_a_death():
    assert Ending(rank=0, exit_code=0).is_death
    assert "exit code 0 in the middle" in str(Ending(rank=0, exit_code=0))
