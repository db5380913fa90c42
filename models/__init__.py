"""A small language model to search over: the transformer, its optimiser,
objective and data, and the trainee that ties them together.

Knows nothing of searching: `language_model.LanguageModel` has the shape of
`evo.trainee.Trainee` and imports nothing of it.
"""
