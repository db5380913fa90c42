"""Tests of the words for results."""

import pytest

from evo import wording

OTHER = {'x': 0.7}


@pytest.fixture
def headline(made):
  """Makes the headline of rounds made by hand."""
  return lambda *rounds: wording.headline(made(*rounds)[0])


@pytest.fixture
def search(leg, searched):
  """A round in which member 1 beats the baseline."""
  return searched((leg(0), 2.0), (leg(1, OTHER), 1.0))


def test_an_improvement_is_stated_with_its_interval(
  headline, search, confirmed
):
  text = headline(search, confirmed(2, [(2.0, 1.5), (2.2, 1.6902)]))
  assert text.startswith('The champion improves on the baseline by 0.5049 bpb')
  # The difference of the two gains is .0098: standard error .0049 times 12.7.
  assert '(24.0%; 95% interval [+0.4426, +0.5672], 2 fresh seeds)' in text


def test_an_interval_around_zero_is_no_improvement(headline, search, confirmed):
  text = headline(search, confirmed(2, [(2.0, 1.5), (2.0, 2.1)]))
  assert text.startswith('No improvement was shown')
  assert 'does not exclude zero' in text


def test_a_champion_that_is_worse_is_called_worse(headline, search, confirmed):
  text = headline(search, confirmed(2, [(2.0, 2.5), (2.0, 2.51)]))
  assert text.startswith('The champion is worse than the baseline by 0.5050')


@pytest.mark.parametrize(
  'losses, why',
  [
    ([], 'no confirmation was run'),
    ([(2.0, None), (2.0, 1.0)], 'a run of the confirmation'),
    ([(2.0, 1.0)], 'the confirmation has not ended'),
  ],
)
def test_what_is_not_confirmed_says_why(
  headline, search, confirmed, losses, why
):
  text = headline(search, confirmed(2, losses))
  assert text.startswith(f'Not confirmed, because {why}')
  assert '1.0000 bpb on the search split, against 2.0' in text


def test_other_ends_are_named_too(headline, leg, searched):
  assert 'no member reached' in headline(('search', [leg(0)], []))
  assert 'all 1 members failed' in headline(searched((leg(0), None)))
  assert headline(searched((leg(0), 2.0))).startswith('The baseline alone')
  kept = headline(searched((leg(0), 1.0), (leg(1, OTHER), 2.0)))
  assert kept.startswith('No better champion than the baseline (1.0000 bpb)')


@pytest.mark.parametrize(
  'seconds, text',
  [(4.4, '4 s'), (90, '1.5 min'), (5399, '90.0 min'), (7500, '2 h 05 min')],
)
def test_times_are_for_people(seconds, text):
  assert wording.duration(seconds) == text
