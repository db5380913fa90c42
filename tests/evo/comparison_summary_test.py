"""Tests of the end of a comparison as a terminal shows it."""

from evo import comparison, comparison_summary


def run(strategy, seed, loss):
  incumbent = comparison.Incumbent(8.0, 0, 1.0, loss)
  return comparison.Run(strategy, seed, 8.0, 8, 0, 1, 0.1, (incumbent,))


def compared(losses):
  runs = [
    run(name, seed, loss)
    for name, own in losses.items()
    for seed, loss in enumerate(own)
  ]
  return comparison.compare(runs, 'random', 8, 'bpb')


def test_strategies_stand_in_order_of_their_loss():
  losses = {
    'random': [2.0 + 0.01 * i for i in range(8)],
    'evolution': [1.5 + 0.02 * i for i in range(8)],
  }
  lines = comparison_summary.summary(compared(losses)).splitlines()
  assert lines[0] == 'Better than random: evolution.'
  assert lines[3].split()[:2] == ['evolution', '1.5700']
  assert lines[3].endswith('better than random')
  assert lines[4].split()[:2] == ['random', '2.0350']
  assert lines[4].endswith('the reference')
  assert all(len(line) < 80 for line in lines)


def test_a_strategy_without_a_confirmed_loss_says_so():
  losses = {'random': [2.0, 2.1], 'evolution': [None, None]}
  text = comparison_summary.summary(compared(losses))
  assert 'evolution         -  no confirmed loss' in text
