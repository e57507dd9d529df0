"""One file a job: fit, compare, calibrate, tag, explain, suspects, engines, doctor, demo."""
