"""A study's outcome in plain sentences, for the head of the report and the model card."""

from __future__ import annotations

from scorewire_training.evaluation.metrics import Better, Figure, read_figures
from scorewire_training.training_result import Kind, Study

# What a reader is to look at first, the first of them that were measured.
_HEADLINES = {
    Kind.PROBABILITY: ("auc", "brier", "log_loss", "calibration_error"),
    Kind.AMOUNT: ("mae_ordinary", "mae", "spearman", "gini", "median_ae"),
}
_MAX_HEADLINES = 4


def headline_figures(study: Study) -> tuple[Figure, ...]:
    """The few figures that say most, at most four."""
    figures = {figure.name: figure for figure in read_figures(study.metrics, unit=study.unit)}
    wanted = [figures[name] for name in _HEADLINES[study.kind] if name in figures]
    return tuple(wanted[:_MAX_HEADLINES]) or tuple(figures.values())[:_MAX_HEADLINES]


def judge(study: Study) -> tuple[str, ...]:
    """What the test says of the model, a sentence each."""
    figures = headline_figures(study)
    sentences = [_sum_up(figures)]
    for figure in figures:
        if figure.name == "auc":
            sentences.append(
                f"Of a row with label 1 and one without, it gives the first the higher forecast in "
                f"{figure.value:.1%} of cases{_between(figure, share=True)}."
            )
        elif figure.name == "spearman":
            sentences.append(
                f"Its order of the rows agrees with the true one to {figure.value:.2f}{_between(figure)}, "
                "where 1 is the same order and 0 is chance."
            )
        elif figure.name == "calibration_error":
            sentences.append(
                f"A forecast is off by {100 * figure.value:.1f} percentage points on average, group by group."
            )
        if comparison := compare(figure):
            sentences.append(comparison)
    return tuple(sentence for sentence in sentences if sentence)


def _sum_up(figures: tuple[Figure, ...]) -> str:
    """How often it is better than the strongest rule without a model; empty where there are no rules."""
    found = [passes(figure) for figure in figures]
    compared = [outcome for outcome in found if outcome]
    if not compared:
        return ""
    for outcome in ("better", "worse"):
        if compared.count(outcome) == len(compared):
            return f"It is {outcome} than the best rule without a model, on each figure above that both have."
    counts = (
        (word, compared.count(outcome))
        for word, outcome in (("better", "better"), ("not told apart", "equal"), ("worse", "worse"))
    )
    parts = ", ".join(f"{word} on {count}" for word, count in counts if count)
    return f"Beside the best rule without a model, on the {len(compared)} figures that both have: {parts}."


def compare(figure: Figure) -> str:
    """The model beside the strongest rule without a model; empty where there is none."""
    baseline = figure.best_baseline
    if baseline is None:
        return ""
    value, other = figure.show(figure.value), figure.show(baseline.value)
    rule = baseline.rule.replace("_", " ")
    beats = figure.beats(baseline)
    if beats is None and (figure.interval or figure.lead):
        return (
            f"{figure.title}: {value}{_between(figure)} is not told apart from the {other} of {rule} alone."
        )
    better = "better than" if beats else "worse than"
    if beats is None:
        better = "equal to"
    beyond = " by more than the interval" if (figure.interval or figure.lead) and beats is not None else ""
    return f"{figure.title}: {value}, {better} the {other} of {rule} alone{beyond}."


def _between(figure: Figure, *, share: bool = False) -> str:
    if figure.interval is None:
        return ""
    low, high = figure.interval
    if share:
        return f" ({low:.1%} to {high:.1%})"
    return f" ({figure.show(low)} to {figure.show(high)})"


def as_sentence(text: str) -> str:
    """A text with a capital at its head and a full stop at its end."""
    sentence = text[:1].upper() + text[1:]
    return sentence if sentence.endswith((".", "!", "?")) else f"{sentence}."


def passes(figure: Figure) -> str:
    """How it stands beside the strongest rule without a model: better, worse, equal, or the empty text."""
    baseline = figure.best_baseline
    if baseline is None or figure.better is Better.NEITHER:
        return ""
    return {True: "better", False: "worse", None: "equal"}[figure.beats(baseline)]
