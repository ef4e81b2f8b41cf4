-- The tool of an operation as it was when that was asked for, in JSON: what rules about approving it read, and what its
-- result is about. Empty for operations from before.
ALTER TABLE operations ADD COLUMN tool TEXT NOT NULL DEFAULT '';
