from __future__ import annotations

import re

from scorewire_training.config import TrainingConfig
from scorewire_training.output.model_card import render_card
from scorewire_training.training_result import PredictionKind
from tests.scorewire_training.results import make_result


def test_a_card_has_every_part_with_its_metrics() -> None:
    result = make_result(PredictionKind.PROBABILITY)
    card = render_card(result, TrainingConfig(seed=9)).decode()
    headings = re.findall(r"^## (.*)$", card, flags=re.MULTILINE)
    assert headings == [
        "In short",
        "Intended use",
        "Score new rows",
        "Data",
        "Evaluation protocol",
        "Evaluation",
        "Candidates",
        "Limits",
        "Features",
        "Reproduce it",
    ]
    metrics = result.metrics
    assert (
        f"| AUC | {metrics['auc']:.3f} | {metrics['auc_low']:.3f} to {metrics['auc_high']:.3f} "
        f"| recency {metrics['auc_recency_baseline']:.3f}"
    ) in card
    assert "| no customer | nobody to foretell | 300 | 1,400 |" in card
    assert "| gap_days | number |" in card
    assert "    seed = 9" in card
    assert "| xgboost-cpu | " in card


def test_names_and_texts_of_the_data_are_no_marks() -> None:
    hostile = "<script>|[x](y)`*\n# head"
    result = make_result(
        PredictionKind.AMOUNT,
        rename=lambda name: hostile + name,
        title=hostile,
        limits=(hostile,),
        chosen=hostile,
    )
    card = render_card(result, TrainingConfig()).decode()
    assert not re.search(r"(?<!\\)<script", card)
    assert not re.search(r"(?<!\\)\[x", card)
    assert "\n# head" not in card
    tables = [line for line in card.splitlines() if line.startswith("|")]
    widths = {len(re.split(r"(?<!\\)\|", line)) for line in tables if "script" in line}
    # Five columns of features, between seven bars' ends.
    assert widths == {7}
