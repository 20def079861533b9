"""Find stored questions that mean the same as a new one, and measure how often that is wrong."""
