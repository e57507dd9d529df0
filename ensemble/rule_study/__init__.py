"""What rules do to labels and figures: checked, audited, mined, proposed."""
