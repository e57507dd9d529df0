"""What a quick fit leaves out, as settings laid over a user's own."""

from collections.abc import Mapping

# The search, the fit that is rehearsed without one fold, and the fits without each tagger. What is
# left chooses and calibrates as ever, on all folds: with four of them the gate chose worse on one
# set.
QUICK: Mapping[str, object] = {
    "stack": {
        "outer_fold": False,
        "member_worth": "none",
        "tuning": {"trials": 0},
    },
    "thresholds": {"frontier": [], "joint_rounds": 4},
}
