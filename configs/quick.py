"""What a quick fit leaves out, as settings laid over a user's own."""

from collections.abc import Mapping

# The search, the fit that is rehearsed without one fold, and the fits without each tagger. What is
# left chooses and calibrates as ever, on all folds: with four of them the gate chose worse on one
# set. XGBoost takes half as many steps, each twice as long, and the few weights that selection
# picks are told apart on half of the pairs.
QUICK: Mapping[str, object] = {
    "stack": {
        "selection_pairs": 100_000,
        "outer_fold": False,
        "member_worth": "none",
        "xgboost": {"rounds": 100, "learning_rate": 0.1},
        "tuning": {"trials": 0},
    },
    "thresholds": {"frontier": [], "joint_rounds": 4},
}
