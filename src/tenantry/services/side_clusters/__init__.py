"""Side clusters: temporary clusters at a past moment, in files of their own, for one operation."""
