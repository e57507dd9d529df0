"""Whether two sessions of one network agree: fp32 beside fp16, int8 and fp8, before first use."""
