"""Whether a model that learns from what it served has begun to feed on itself.

`exposure` counts what was shown, `calibration` compares the model where it chose with
where a die chose, `sources` says where labels come from, and `alarm` speaks up with a
stated chance of doing so without cause.  `override` notices choices changed after the draw.
"""
