-- An owned database that its cluster does not have, after a recovery or by somebody's hand. It is
-- told of, and never made anew: an empty one would hide the loss.
ALTER TABLE databases ADD COLUMN missing_since timestamptz;
